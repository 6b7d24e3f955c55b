"""The files that rules are held against, folder by folder: a case a file would cost a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "contracts",
    "runtime",
    "mqtt",
    "lwm2m",
    "fake_devices",
    "harness",
    "city_platform",
    "scenarios",
)


def name_of(file: Path) -> str:
    """Its path from the root."""
    return file.relative_to(ROOT).as_posix()


def files_of(*names: str) -> list[Path]:
    """The modules in these folders of the root and in what is in them."""
    return sorted(file for name in names for file in (ROOT / name).rglob("*.py"))


def by_folder(files: Iterable[Path]) -> Mapping[str, list[Path]]:
    """The files of each folder, by the folder's name."""

    def folder(file: Path) -> str:
        return name_of(file.parent)

    return {name: list(each) for name, each in groupby(sorted(files, key=folder), folder)}


def faults(folder: Iterable[Path], found: Callable[[Path], Iterable[str]]) -> list[str]:
    """What is wrong in a folder's files: each as `path:what`."""
    return [f"{name_of(file)}:{fault}" for file in folder for fault in found(file)]
