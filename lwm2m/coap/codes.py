"""CoAP codes as plain integers (RFC 7252 §12.1, RFC 7959 §2.9, RFC 8132 §4), and their text.

Integers, not an enumeration: one is made per datagram, and `IntEnum(...)` costs more than the rest
of decoding a header.
"""

from __future__ import annotations

EMPTY = 0x00

GET = 0x01
POST = 0x02
PUT = 0x03
DELETE = 0x04
FETCH = 0x05
PATCH = 0x06
IPATCH = 0x07

CREATED = 0x41
DELETED = 0x42
VALID = 0x43
CHANGED = 0x44
CONTENT = 0x45
CONTINUE = 0x5F

BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
REQUEST_ENTITY_INCOMPLETE = 0x88
CONFLICT = 0x89
PRECONDITION_FAILED = 0x8C
REQUEST_ENTITY_TOO_LARGE = 0x8D
UNSUPPORTED_CONTENT_FORMAT = 0x8F
UNPROCESSABLE_ENTITY = 0x96
TOO_MANY_REQUESTS = 0x9D

INTERNAL_SERVER_ERROR = 0xA0
NOT_IMPLEMENTED = 0xA1
BAD_GATEWAY = 0xA2
SERVICE_UNAVAILABLE = 0xA3
GATEWAY_TIMEOUT = 0xA4
PROXYING_NOT_SUPPORTED = 0xA5

_TEXT = tuple(f"{code >> 5}.{code & 31:02d}" for code in range(256))
_OF_TEXT = {text: code for code, text in enumerate(_TEXT)}


def code_text(code: int) -> str:
    """The dotted form of RFC 7252 §3: `code_text(0x45) == "2.05"`."""
    return _TEXT[code]


def code_of_text(text: str) -> int:
    """The code of a dotted form. Raises `ValueError` when there is none such."""
    try:
        return _OF_TEXT[text]
    except KeyError:
        raise ValueError(f"{text!r} is not a CoAP code: expected 'c.dd'") from None


def is_request(code: int) -> bool:
    """Whether the code is a method (class 0, not Empty)."""
    return 0 < code < 0x20


def is_response(code: int) -> bool:
    """Whether the code is of a response class (2 to 5)."""
    return 0x40 <= code < 0xC0


def is_success(code: int) -> bool:
    """Whether the code is of class 2."""
    return 0x40 <= code < 0x60
