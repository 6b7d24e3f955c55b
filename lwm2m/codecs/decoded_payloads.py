"""What equal payloads decode to, kept for the payloads seen last.

A fleet has thousands of devices and a handful of models: their object lists are equal byte for
byte, and so is everything that is derived from them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DecodedPayloads(Generic[T]):
    """Calls `decode` once per distinct payload while it is among the `entries_max` used last.

    Payloads over `payload_bytes_max` are decoded and not kept, so the memory is bounded by the
    product. Errors are raised and not kept. Results are shared: they must be immutable.
    """

    def __init__(
        self, decode: Callable[[bytes], T], entries_max: int = 256, payload_bytes_max: int = 4_096
    ) -> None:
        self._decode = decode
        self._entries_max = entries_max
        self._payload_bytes_max = payload_bytes_max
        self._entries: OrderedDict[bytes, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, payload: bytes) -> T:
        """What `payload` decodes to. Raises what `decode` raises."""
        entries = self._entries
        try:
            found = entries[payload]
        except KeyError:
            return self._decode_new(payload)
        entries.move_to_end(payload)
        return found

    def _decode_new(self, payload: bytes) -> T:
        found = self._decode(payload)
        if len(payload) <= self._payload_bytes_max:
            self._entries[payload] = found
            if len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
        return found
