"""What an uploaded manifest was called where it came from."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

HEADER: Final = "x-file-name"
NAME_LENGTH_MAX: Final = 200


def file_name(header: str) -> str:
    """The name that the header says, percent-encoded: without folders, printable, short."""
    name = unquote(header).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:NAME_LENGTH_MAX]
