"""Files with secrets that a configuration names: tokens, and rows with keys."""

from __future__ import annotations

from pathlib import Path

from runtime.component import ConfigError


def read_token(file: str) -> str:
    """The one line of a token file. Raises `ConfigError`."""
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        token = "\0"
    if not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"the token file {file} has what no token has: write one line of ASCII letters and "
            "digits, or remove it"
        )
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def numbered_lines(file: str) -> list[tuple[int, bytes]]:
    """The lines of a file with their numbers from 1, without empty ones. Raises `ConfigError`."""
    try:
        lines = Path(file).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
