"""Files with secrets that a configuration names: tokens, and rows with keys."""

from __future__ import annotations

from pathlib import Path

from runtime.component import ConfigError

_OTHERS = 0o077


def read_token(file: str) -> str:
    """The one line of a token file. Raises `ConfigError`."""
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {file}: {error.strerror}") from error
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def check_owner_only(file: str) -> None:
    """Return when nobody but its owner can read the file. Raises `ConfigError`."""
    if Path(file).stat().st_mode & _OTHERS:
        raise ConfigError(f"{file} has keys: make it its owner's alone (chmod 600 {file})")


def numbered_lines(file: str) -> list[tuple[int, bytes]]:
    """The lines of a file with their numbers from 1, without empty ones. Raises `ConfigError`."""
    try:
        lines = Path(file).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
