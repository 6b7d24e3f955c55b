"""Versions of objects: which of them is newer, and which can stand in for which."""

from __future__ import annotations

from collections.abc import Iterable

DEFAULT_VERSION = "1.0"


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by. A version that is no version is older than all others."""
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        return ()
    return tuple([int(part) for part in parts])


def version_for(asked: str | None, known: Iterable[str]) -> str | None:
    """Which of the `known` versions serves a device that has the version `asked`.

    The same; else the newest with the same first number, because those only add resources (LwM2M
    Core §7.2.2); else none. A device that names no version has 1.0, or some later 1.x of an object
    whose version its LwM2M version implies; only where there is no 1.x the newest serves.
    """
    ordered = sorted(known, key=version_key, reverse=True)
    wanted = DEFAULT_VERSION if asked is None else asked
    if asked in ordered:
        return asked
    for version in ordered:
        if version_key(version)[:1] == version_key(wanted)[:1]:
            return version
    return ordered[0] if asked is None and ordered else None
