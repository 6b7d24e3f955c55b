"""Base64 as clients write it: either alphabet, padded or not (RFC 4648 §4 and §5)."""

from __future__ import annotations

import base64
import binascii


def octets(text: str) -> bytes | None:
    """The bytes that `text` stands for; None when it is not base64."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def url_safe(data: bytes) -> str:
    """`data` in the URL-safe alphabet without padding, as RFC 8428 §5 asks."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def padded(data: bytes) -> str:
    """`data` in the plain alphabet with padding, as plain text and OMA JSON have it."""
    return base64.b64encode(data).decode()
