"""Results of tests that are kept in the tree, and the pages of docs/ that are printed from them.

A run leaves one file per result in a folder, so that test processes need not agree on anything;
what is kept of them is one file, a result a line.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

ROOT: Final = Path(__file__).parents[1]

_Result = TypeVar("_Result", bound=msgspec.Struct)


def leave_result(folder: Path, name: str, result: msgspec.Struct) -> None:
    """Leave what came of one thing, `name`, in a run's folder; a later result replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = hashlib.sha256(name.encode()).hexdigest()[:16]
    unfinished = folder / f".{stem}-{os.getpid()}"
    unfinished.write_bytes(msgspec.json.encode(result))
    unfinished.replace(folder / f"{stem}.json")


def read_run(folder: Path, kind: type[_Result]) -> list[_Result]:
    """What a run left in its folder."""
    return [
        msgspec.json.decode(file.read_bytes(), type=kind) for file in sorted(folder.glob("*.json"))
    ]


def read_results(file: Path, kind: type[_Result]) -> list[_Result]:
    """The kept results, in their order."""
    return msgspec.json.decode(file.read_bytes(), type=list[kind])  # type: ignore[valid-type]  # a type that is handed in


def write_results(file: Path, results: Iterable[msgspec.Struct]) -> None:
    """Keep results, one a line."""
    lines = ",\n".join(msgspec.json.encode(each).decode() for each in results)
    file.write_text(f"[\n{lines}\n]\n")


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[_Result]):
    """A page that is printed from kept results: `page` and `results` are paths from the root."""

    command: str
    about: str
    page: str
    results: str
    kind: type[_Result]
    take: Callable[[Path, Sequence[_Result]], list[_Result]]
    text: Callable[[Sequence[_Result]], str]

    def main(self) -> int:
        """Take results over if the command line asks for it, and print the page to its place."""
        parser = argparse.ArgumentParser(prog=self.command, description=self.about)
        parser.add_argument(
            "--take", type=Path, help="folder of a run's results, to take over first"
        )
        arguments = parser.parse_args()
        file = ROOT / self.results
        kept = read_results(file, self.kind) if file.exists() else []
        if arguments.take is not None:
            kept = self.take(arguments.take, kept)
            write_results(file, kept)
        (ROOT / self.page).write_text(self.text(kept))
        return 0
