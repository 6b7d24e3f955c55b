"""Whole frames out of a WebSocket's bytes: plain texts are read here, all else is for the library.

Nearly everything that a data interface sends is one text in one frame, a few hundred bytes long,
thousands a second; the websockets library's parser steps through each in several generators. What
is no such frame, or breaks the protocol, is handed on as it came, so that the library judges it.
"""

from __future__ import annotations

from typing import Final

# The library's own choice between its C extension and Python.
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # not in its __all__

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4


def masked(header: bytes, text: bytes, mask: bytes) -> bytes:
    """A frame as a client sends it. `header` is what it would be unmasked; `mask`, four bytes, must
    be such that nobody can foresee them (RFC 6455 §5.3)."""
    return b"".join(
        (header[:1], bytes((header[1] | _MASKED,)), header[2:], mask, apply_mask(text, mask))
    )


class FrameReader:
    """Bytes after the handshake in, frames out, in order; a frame that is not whole is kept.

    `is_masked`: whether the other side is a client. Frames of more than `payload_bytes_max` are not
    waited for: what follows is handed on unsplit.
    """

    def __init__(self, *, is_masked: bool, payload_bytes_max: int) -> None:
        self._is_masked = is_masked
        self._payload_bytes_max = payload_bytes_max
        self._data = b""
        self._at = 0
        # A frame that is not whole, and how many bytes it needs as far as is known.
        self._rest = bytearray()
        self._needed = 0
        self._splits = True

    def receive(self, data: bytes) -> None:
        """Take bytes, when those before have been read to the end."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._data, self._at = data, 0

    def next_text(self) -> bytes | None:
        """The text of the next frame; None when that is of another kind, or not whole."""
        data, at = self._data, self._at
        if not self._splits or len(data) < at + 2 or data[at] != _FINAL_TEXT:
            return None
        length = data[at + 1]
        if (length >= _MASKED) is not self._is_masked:
            return None
        begin, end = self._extent(length & ~_MASKED)
        if not begin or end > len(data) or end - begin > self._payload_bytes_max:
            return None
        self._at = end
        if self._is_masked:
            return bytes(apply_mask(data[begin:end], data[begin - _MASK_BYTES : begin]))
        return data[begin:end]

    def next_raw(self) -> bytes:
        """The bytes of the next frame, of whatever kind; none when it is not whole."""
        data, at = self._data, self._at
        held = len(data) - at
        if not held:
            return b""
        if not self._splits:
            self._data, self._at = b"", 0
            return data[at:]
        begin = end = 0
        if held >= 2:
            begin, end = self._extent(data[at + 1] & ~_MASKED)
        if begin and end - begin > self._payload_bytes_max:
            self._splits = False
            return self.next_raw()
        if not begin or end > len(data):
            self._rest += data[at:]
            self._needed = end - at if begin else held + 1
            self._data, self._at = b"", 0
            return b""
        self._at = end
        return data[at:end]

    def take_rest(self) -> bytes:
        """What is left of a frame that will not become whole."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _extent(self, length: int) -> tuple[int, int]:
        """Where the next frame's payload begins and ends (RFC 6455 §5.2); 0 while its head is not
        whole. `length` is that of its second byte, without the mask bit."""
        data, at = self._data, self._at
        begin = at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[begin : begin + size])
            begin += size
        if data[at + 1] & _MASKED:
            begin += _MASK_BYTES
        return (begin, begin + length) if begin <= len(data) else (0, 0)
