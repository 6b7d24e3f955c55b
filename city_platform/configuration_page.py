"""Prints docs/reference/configuration.md: every field of every component's configuration.

Types and defaults are those of the models; meanings are what stands at each field in the source: a
text behind it, or comments before it.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from city_platform.__main__ import COMPONENTS

PAGE: Final = Path(__file__).parents[1] / "docs/reference/configuration.md"
COMMAND: Final = "python -m city_platform.configuration_page"
_COMMENT: Final = re.compile(r"\s*# ?(.*)")

_HEAD: Final = f"""# Configuration

Printed by `{COMMAND}` from the models; do not edit.

`python -m city_platform COMPONENT --config FILE` reads JSON, or TOML when the file's name ends in
`.toml`; `-` reads one line of JSON from standard input. A field that is not here is refused, and so
is a value of another type. Secrets are named by the files that hold them.

From the environment comes one thing, how a process logs: `LAMPLIGHTER_LOG`, see
[Running it](../operations/running.md#logs).
"""


class Field(NamedTuple):
    """One field as the page has it."""

    name: str
    kind: str
    default: str
    meaning: str


class _Meaning(NamedTuple):
    """What stands at a field, and where to look when nothing does."""

    own: str
    shared: str


def configuration_page() -> str:
    """The text of the page."""
    tops = {
        name: getattr(import_module(place.module), place.config)
        for name, place in COMPONENTS.items()
    }
    parts: dict[str, type[msgspec.Struct]] = {}
    for top in tops.values():
        for part in _parts_of(top):
            parts.setdefault(part.__name__, part)
    lines = [_HEAD]
    for name, top in tops.items():
        lines += [f"## {name}", "", *_section(top, parts)]
    lines += ["## Parts", ""]
    for named in sorted(set(parts) - {top.__name__ for top in tops.values()}):
        lines += [f"### {named}", "", *_section(parts[named], parts)]
    return "\n".join(lines).rstrip("\n") + "\n"


def fields_of(model: type[msgspec.Struct]) -> list[Field]:
    """The fields of a model, in the order of its source."""
    meanings = _meanings(model)
    return [
        Field(
            field.name,
            _kind(field.type),
            _default(field),
            meanings[field.name].own or _of_part(field.type) or meanings[field.name].shared,
        )
        for field in msgspec.structs.fields(model)
    ]


def _of_part(kind: Any) -> str:
    """What a part says of itself, for a field that is one and of which nothing is said."""
    told = [inspect.getdoc(one) for one in _structs_in(msgspec.inspect.type_info(kind))]
    return " ".join((told[0] or "").partition("\n\n")[0].split()) if told else ""


def _section(model: type[msgspec.Struct], parts: dict[str, type[msgspec.Struct]]) -> list[str]:
    lines = [" ".join((inspect.getdoc(model) or "").split()), ""]
    tag = model.__struct_config__.tag
    if tag is not None:
        lines += [f"Chosen by `{model.__struct_config__.tag_field} = {tag!r}`.", ""]
    fields = fields_of(model)
    if not fields:
        return lines
    rows = [(f"`{one.name}`", _linked(one.kind, parts), one.default, one.meaning) for one in fields]
    table = [("field", "type", "default", "meaning"), ("---",) * 4, *rows]
    cells = ([cell.replace("|", r"\|") for cell in row] for row in table)
    return [*lines, *(f"| {' | '.join(row)} |" for row in cells), ""]


def _parts_of(model: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A model and all that its fields are made of."""
    yield model
    for field in msgspec.structs.fields(model):
        for inner in _structs_in(msgspec.inspect.type_info(field.type)):
            yield from _parts_of(inner)


def _structs_in(kind: msgspec.inspect.Type) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls
    elif isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from _structs_in(one)
    elif isinstance(kind, msgspec.inspect.CollectionType):
        yield from _structs_in(kind.item_type)
    elif isinstance(kind, msgspec.inspect.DictType):
        yield from _structs_in(kind.value_type)


def _kind(kind: Any) -> str:
    return _told(msgspec.inspect.type_info(kind))


def _told(kind: msgspec.inspect.Type) -> str:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _told(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(_told(one) for one in kind.types if not _is_none(one))
    if isinstance(kind, msgspec.inspect.StructType):
        return kind.cls.__name__
    if isinstance(kind, msgspec.inspect.CollectionType):
        return f"list of {_told(kind.item_type)}"
    if isinstance(kind, msgspec.inspect.DictType):
        return f"{_told(kind.value_type)} by name"
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " or ".join(f"`{one}`" for one in kind.values)
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return _number(kind)
    return _PLAIN[type(kind)]


_PLAIN: Final[dict[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.BoolType: "yes or no",
}


def _number(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    what = "whole number" if isinstance(kind, msgspec.inspect.IntType) else "number"
    bounds = [
        f"{sign} {bound:,}"
        for sign, bound in ((">", kind.gt), ("≥", kind.ge), ("<", kind.lt), ("≤", kind.le))
        if bound is not None
    ]
    return f"{what} {', '.join(bounds)}".rstrip()


def _is_none(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if isinstance(value, msgspec.Struct):
        return _changed(value)
    if value is None:
        return "none"
    if isinstance(value, tuple) and value and all(isinstance(one, msgspec.Struct) for one in value):
        return ", ".join(_changed(one) for one in value)
    return f"`{msgspec.json.encode(value).decode()}`"


def _changed(value: msgspec.Struct) -> str:
    """A part's own defaults, but for what a component has otherwise."""
    fields = msgspec.structs.fields(type(value))
    changed = [
        f"`{one.name} = {msgspec.json.encode(getattr(value, one.name)).decode()}`"
        for one in fields
        if getattr(value, one.name) != one.default and one.default_factory is msgspec.NODEFAULT
    ]
    tag = value.__struct_config__.tag
    told = f"`{tag}`" if tag is not None else "its own"
    return f"{told}, but {', '.join(changed)}" if changed else told


def _linked(kind: str, parts: dict[str, type[msgspec.Struct]]) -> str:
    return re.sub(
        r"\b[A-Z]\w+\b",
        lambda found: f"[{found[0]}](#{found[0].lower()})" if found[0] in parts else found[0],
        kind,
    )


def _meanings(model: type[msgspec.Struct]) -> dict[str, _Meaning]:
    """What stands at each field: a text behind it goes before comments in front of it."""
    source = textwrap.dedent(inspect.getsource(model))
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    comments = _comments(source)
    found: dict[str, _Meaning] = {}
    above, above_ends = "", 0
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        text = _text(following) or _before(statement.lineno, comments)
        # One comment for several: `# First and longest pause, in seconds.`
        is_next = above and statement.lineno == above_ends + 1
        found[name] = _Meaning(" ".join(text.split()), f"see `{above}`" if is_next else "")
        above = name if text else (above if is_next else "")
        above_ends = statement.end_lineno or statement.lineno
    return found


def _text(node: ast.stmt | None) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return str(node.value.value) if is_text else ""  # type: ignore[union-attr] # as is_text says


def _comments(source: str) -> dict[int, str]:
    """Whole-line comments by their line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: _COMMENT.fullmatch(token.string)[1]  # type: ignore[index] # it is one
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }


def _before(line: int, comments: dict[int, str]) -> str:
    found: list[str] = []
    while (line := line - 1) in comments:
        found.insert(0, comments[line])
    return " ".join(found)


if __name__ == "__main__":
    PAGE.write_text(configuration_page())
