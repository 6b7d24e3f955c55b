"""Where the inputs of each target lie: a folder a target, a file an input, named by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def folder_of(name: str) -> Path:
    """The folder with the inputs of a target."""
    return CORPUS / name


def name_of(data: bytes) -> str:
    """What libFuzzer calls a file with this input."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def target_names() -> list[str]:
    """The targets that have a corpus, in order."""
    return sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())


def inputs_of(name: str) -> list[bytes]:
    """The inputs of a target, in order of their names."""
    return [file.read_bytes() for file in sorted(folder_of(name).iterdir()) if file.is_file()]
