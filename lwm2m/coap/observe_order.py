"""Which of two notifications is newer (RFC 7641 §3.4)."""

from __future__ import annotations

_HALF = 1 << 23
_FRESH_S = 128.0


def is_newer(number: int, now: float, last_number: int, last_at: float) -> bool:
    """Whether the notification `number`, come at `now` (s), is newer than the last one told.

    Numbers are of 24 bits and wrap; after 128 s any number is newer.
    """
    ahead = (number - last_number) % (1 << 24)
    return 0 < ahead < _HALF or now > last_at + _FRESH_S
