"""Reads load profiles from TOML and recorded arrivals from text; errors tell file, line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from fake_devices.load_profiles.profile import KINDS, IllegalProfile, LoadProfile
from fake_devices.load_profiles.shapes import EVENTS_MAX

FILE_BYTES_MAX: Final = 1_000_000
ARRIVALS_BYTES_MAX: Final = 256_000_000
# `$.registrations[0].rate_per_s`, as msgspec tells where it stood.
_PATH: Final = re.compile(r" - at `(\$[^`]*)`")
_STEP: Final = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]")


def read_profile(path: Path) -> LoadProfile:
    """The profile of a TOML file. Raises `IllegalProfile`."""
    return parse_profile(_read(path, FILE_BYTES_MAX), str(path), path.parent)


def parse_profile(data: bytes, source: str, folder: Path | None = None) -> LoadProfile:
    """The profile that `data` is; `source` names it in errors.

    Files of recorded arrivals are looked for in `folder`; None: there are none. Raises
    `IllegalProfile`.
    """
    try:
        text = data.decode()
        found: dict[str, Any] = tomllib.loads(text)
    except UnicodeDecodeError:
        raise IllegalProfile(f"{source}: not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise IllegalProfile(f"{source}: not TOML: {error}") from None
    _read_replays(found, source, folder)
    found.setdefault("name", Path(source).stem)
    try:
        return msgspec.convert(found, LoadProfile)
    except (msgspec.ValidationError, IllegalProfile, RecursionError) as error:
        raise IllegalProfile(_told(str(error), text, source)) from None


def read_arrivals(path: Path) -> tuple[float, ...]:
    """The moments of a file: seconds, one a line, in order; `#` begins a comment.

    Raises `IllegalProfile` that names the line.
    """
    times_s: list[float] = []
    for number, line in enumerate(_read(path, ARRIVALS_BYTES_MAX).splitlines(), 1):
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            at_s = float(text.decode("ascii"))
        except ValueError:
            raise IllegalProfile(f"{path}, line {number}: {text[:40]!r} is no number") from None
        if not 0.0 <= at_s <= 2_592_000.0:
            raise IllegalProfile(f"{path}, line {number}: {at_s:g} s is not within 30 days from 0")
        if times_s and at_s < times_s[-1]:
            raise IllegalProfile(
                f"{path}, line {number}: {at_s:g} comes after {times_s[-1]:g}, sort the lines"
            )
        times_s.append(at_s)
        if len(times_s) > EVENTS_MAX:
            raise IllegalProfile(f"{path}, line {number}: more than {EVENTS_MAX:,} arrivals")
    if not times_s:
        raise IllegalProfile(f"{path}: there is no arrival in it")
    return tuple(times_s)


def _read_replays(found: dict[str, Any], source: str, folder: Path | None) -> None:
    """Put what `file` names in its place; what is no phase is left for the decoder to refuse."""
    for kind in KINDS:
        phases = found.get(kind)
        for phase in phases if isinstance(phases, list) else ():
            if isinstance(phase, dict) and isinstance(phase.get("file"), str):
                name = phase.pop("file")
                if folder is None:
                    raise IllegalProfile(f"{source}: {kind} cannot read {name!r} from here")
                phase["times_s"] = read_arrivals(folder / name)


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > bytes_max:
            raise IllegalProfile(f"{path}: {size:,} bytes, at most {bytes_max:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise IllegalProfile(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a name with a null byte in it
        if isinstance(error, IllegalProfile):
            raise
        raise IllegalProfile(f"cannot read {str(path)!r}: {error}") from None


def _told(error: str, text: str, source: str) -> str:
    """The decoder's words with the file's line and key in front."""
    where = _PATH.search(error)
    what = _PATH.sub("", error)
    what = what[:1].lower() + what[1:]
    if where is None:
        return f"{source}: {what}; keys are {', '.join(LoadProfile.__struct_fields__)}"
    steps = [name or int(number) for name, number in _STEP.findall(where[1])]
    key = where[1].removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `([^`]*)`", what)
    line = _line_of(text, [*steps, unknown[1]] if unknown else steps)
    return f"{source}{'' if line is None else f', line {line}'}: {key}: {what}"


def _line_of(text: str, steps: list[str | int]) -> int | None:
    """The line of a key such as `["registrations", 1, "rate_per_s"]`, at least of its table."""
    header, key, nth = None, None, 0
    match steps:
        case [str(kind), int(number), *rest]:
            header, nth = re.compile(rf"\s*\[\[\s*{re.escape(kind)}\s*\]\]"), number
            key = next((each for each in rest if isinstance(each, str)), None)
        case [str(kind), str(name), *_]:
            header, key = re.compile(rf"\s*\[\s*{re.escape(kind)}\s*\]"), name
        case [str(name), *_]:
            key = name
    table, seen, is_inside = None, -1, header is None
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            is_here = header is not None and header.match(line) is not None
            seen += is_here
            is_inside = is_here and seen == nth
            table = number if is_inside else table
        elif is_inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return table
