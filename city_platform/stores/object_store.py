"""Objects by name: the interface, and plain files under one folder (temporary name, then rename).

It knows nothing of what the objects mean; `credentials_name` and its like say where each kind is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from city_platform.stores.worker import Worker
from runtime.files import sync_directory, write_atomically

_LEVEL = r"[A-Za-z0-9:_=-][A-Za-z0-9:._=-]{0,199}"
# Credentials documents, which there are most of, have two thousand bytes.
_READ_BYTES = 8_192
_NAME = re.compile(f"{_LEVEL}(?:/{_LEVEL})*", re.ASCII)


class IllegalObjectName(ValueError):
    """An object's name could leave the store's folder or hide in it."""


class ObjectMissing(KeyError):
    """No object has this name."""


class NewObject(NamedTuple):
    """One object to put. With `owner_only` nobody but the platform's user can read it."""

    name: str
    data: bytes
    owner_only: bool = False


class ObjectStore(Protocol):
    """Whole objects by name; names have levels, `credentials/lamp-1.json`."""

    async def get(self, name: str) -> bytes:
        """The object's bytes. Raises `ObjectMissing` or `IllegalObjectName`."""

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Each object's bytes, None where there is none or the name is illegal."""

    async def put(self, objects: Iterable[NewObject], *, sync: bool = False) -> None:
        """Put or replace each object whole, in order; with `sync` they survive a power cut."""

    async def delete(self, name: str) -> None:
        """Take the object away; nothing happens when there is none."""

    async def names(self, prefix: str = "") -> list[str]:
        """The names that begin with `prefix`, sorted."""

    async def present(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that have an object with content."""

    def close(self) -> None:
        """Let go of what is held."""


class FileObjectStore:
    """`ObjectStore` in a folder: one file an object, a folder a level.

    A reader sees an object whole or not at all, also after a kill.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = str(root)
        self._made: set[Path] = set()
        self._worker = Worker("object-store")
        root.mkdir(parents=True, exist_ok=True)

    async def get(self, name: str) -> bytes:
        """See `ObjectStore`."""
        return await self._worker.do(self.get_now, name)

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `ObjectStore`."""
        return await self._worker.do(self._get_many_now, names)

    async def put(self, objects: Iterable[NewObject], *, sync: bool = False) -> None:
        """See `ObjectStore`."""
        await self._worker.do(self.put_now, list(objects), sync=sync)

    async def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        await self._worker.do(self._delete_now, name)

    async def names(self, prefix: str = "") -> list[str]:
        """See `ObjectStore`."""
        return await self._worker.do(self._names_now, prefix)

    async def present(self, names: Iterable[str]) -> set[str]:
        """See `ObjectStore`."""
        return await self._worker.do(self._present_now, list(names))

    def close(self) -> None:
        """See `ObjectStore`."""
        self._worker.close()

    def get_now(self, name: str) -> bytes:
        """`get` in the caller's thread."""
        try:
            return _read(f"{self._folder}/{self._checked(name)}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(name) from None

    def _get_many_now(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._get_or_none(name) for name in names]

    def _get_or_none(self, name: str) -> bytes | None:
        try:
            return self.get_now(name)
        except (ObjectMissing, IllegalObjectName):
            return None

    def put_now(self, objects: Iterable[NewObject], *, sync: bool = False) -> None:
        """`put` in the caller's thread."""
        for name, data, owner_only in objects:
            path = self._path(name)
            self._make_folder(path.parent, sync=sync)
            write_atomically(path, data, mode=0o600 if owner_only else 0o644, sync=sync)

    def _delete_now(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _present_now(self, names: list[str]) -> set[str]:
        return {name for name in names if _size(self._path(name)) > 0}

    def _names_now(self, prefix: str) -> list[str]:
        levels = prefix.rpartition("/")[0]
        folder = self._path(levels) if levels else self._root
        found = [
            (Path(parent) / file).relative_to(self._root).as_posix()
            for parent, _, files in os.walk(folder)
            for file in files
            if not file.startswith(".")
        ]
        return sorted(name for name in found if name.startswith(prefix))

    def _make_folder(self, folder: Path, *, sync: bool) -> None:
        if folder in self._made:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if sync:
            above = folder
            while above != self._root.parent:
                sync_directory(above)
                above = above.parent
        self._made.add(folder)

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*self._checked(name).split("/"))

    def _checked(self, name: str) -> str:
        return checked_name(name)


def checked_name(name: str) -> str:
    """The name, if an object may have it in every store. Raises `IllegalObjectName`."""
    if _NAME.fullmatch(name) is None:
        raise IllegalObjectName(f"{name[:120]!r} is not an object's name")
    return name


def _read(path: str) -> bytes:
    """A whole file, by four system calls where Python's own files take nine. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(descriptor, _READ_BYTES)]
        while parts[-1]:
            parts.append(os.read(descriptor, _READ_BYTES))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def credentials_name(endpoint: str) -> str:
    """Where a device's credentials document is."""
    return f"credentials/{endpoint}.json"


def withheld_name(endpoint: str) -> str:
    """Where they are, without their key, as long as the device must not have them."""
    return f"withheld/{endpoint}.json"
