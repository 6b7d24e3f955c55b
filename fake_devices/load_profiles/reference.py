"""Prints the reference page of load profiles from the types themselves."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from contracts import load
from contracts.load import LoaderLimits
from fake_devices.load_profiles import profile as profiles
from fake_devices.load_profiles import shapes
from fake_devices.load_profiles.profile import KINDS, LoadProfile
from fake_devices.load_profiles.shapes import SHAPES

PAGE: Final = "docs/reference/load_profiles.md"
COMMAND: Final = "python -m fake_devices.load_profiles.reference"

_OPENING: Final = f"""# Load profiles

Made by `{COMMAND} > {PAGE}`; do not edit.

A load profile says what is meant to happen when. It is open-loop: nothing waits for anything, and
what could not be issued in time is issued late and counted from when it was intended. The same
profile and seed give the same moments, and the count of every phase is exactly what its rate and
its duration come to, rounded to a whole event.

`lamplighter run SCENARIO --profile FILE` takes one as TOML. A scenario gives one as a value,
`run.start_fleet(profile=LoadProfile(registrations=(Constant(rate_per_s=50, duration_s=20),)))`;
what the user gives comes before what the scenario does. With `--fleet-processes N` each process
follows its share; the shares are together exactly the whole.

```toml
[[registrations]]
shape = "ramp"
from_per_s = 10
to_per_s = 100
duration_s = 30

[[telemetry]]
shape = "constant"
begins_s = 20
rate_per_s = 400
duration_s = 60

[[reconnects]]
shape = "power_cut"
begins_s = 40
outage_s = 5
return_within_s = 20
```

Further examples are in `fixtures/load_profiles/`.

A file of recorded arrivals has a moment on each line, in seconds and in order; `#` begins a
comment. Its name, in `file`, counts from the folder of the profile.
"""


def reference_page() -> str:
    """The page as Markdown. A test compares it with the one that is committed."""
    lines = [_OPENING, "## Kinds", "", *_table(profiles, LoadProfile, KINDS)]
    lines += ["", "## Shapes", "", "Every phase may have `begins_s`: " + _begins() + "."]
    for shape in SHAPES:
        tag = msgspec.inspect.type_info(shape).tag  # type: ignore[attr-defined]  # of a struct
        lines += [
            "",
            f"### {tag}",
            "",
            inspect.getdoc(shape) or "",
            "",
            *_table(shapes, shape, _own_fields(shape)),
        ]
    lines += ["", "## limits", "", inspect.getdoc(LoaderLimits) or "", ""]
    lines += [*_table(load, LoaderLimits, LoaderLimits.__struct_fields__)]
    return "\n".join(lines) + "\n"


def _begins() -> str:
    text = _field_docs(shapes, SHAPES[0])["begins_s"]
    return text[0].lower() + text[1:].rstrip(".")


def _own_fields(shape: type[msgspec.Struct]) -> list[str]:
    """The shape's own, then those that it has in common with others; not `begins_s`."""
    own = shape.__annotations__
    names = [name for name in shape.__struct_fields__ if name != "begins_s"]
    return sorted(names, key=lambda name: name not in own)


def _table(
    module: object, kind: type[msgspec.Struct], names: tuple[str, ...] | list[str]
) -> Iterator[str]:
    docs = _field_docs(module, kind)
    defaults = {field.name: field for field in msgspec.structs.fields(kind)}
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name in names:
        yield f"| `{name}` | {_default(defaults[name])} | {docs[name]} |"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "needed"
    if field.default is msgspec.NODEFAULT or field.default in (None, ()):
        return "–"
    return f"`{field.default}`"


def _field_docs(module: object, kind: type[msgspec.Struct]) -> dict[str, str]:
    """The text below each field of a class of a module, and of its bases there."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]  # modules have a source
    bases = {each.__name__ for each in kind.__mro__}
    docs: dict[str, str] = {}
    for found in ast.walk(tree):
        if not isinstance(found, ast.ClassDef) or found.name not in bases:
            continue
        for field, after in zip(found.body, found.body[1:], strict=False):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(
                    value=ast.Constant(value=str(text))
                ):
                    docs[key] = " ".join(text.split())
    return docs


def main() -> None:
    """Write the page to standard output."""
    sys.stdout.write(reference_page())


if __name__ == "__main__":
    main()
