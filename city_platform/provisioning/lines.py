"""Cuts bytes into lines of bounded length."""

from __future__ import annotations


class LineCutter:
    """Lines without their ends (LF or CRLF); one that is over `bytes_max` comes as None, once."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pending = b""
        self._skips = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that `data` ends."""
        *whole, self._pending = (self._pending + data).split(b"\n")
        lines: list[bytes | None] = []
        for line in whole:
            if self._skips:
                self._skips = False
            else:
                lines.append(self._checked(line))
        if self._skips or len(self._pending) > self._bytes_max:
            if not self._skips:
                lines.append(None)
            self._skips, self._pending = True, b""
        return lines

    def finish(self) -> list[bytes | None]:
        """The last line when it has no end."""
        last, self._pending = self._pending, b""
        return [self._checked(last)] if last and not self._skips else []

    def _checked(self, line: bytes) -> bytes | None:
        return line.removesuffix(b"\r") if len(line) <= self._bytes_max else None
