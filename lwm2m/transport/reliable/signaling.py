"""The signaling messages of reliable transports (RFC 8323 §5) and the states of a connection."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from lwm2m.coap.codes import GET
from lwm2m.coap.message import append_options
from lwm2m.coap.options import Options, decode_uint, encode_uint, is_critical
from lwm2m.errors import LwM2mError
from lwm2m.transport.plain_fields import decode_fields
from lwm2m.transport.reliable.framing import encode_frame

CSM: Final = 0xE1
PING: Final = 0xE2
PONG: Final = 0xE3
RELEASE: Final = 0xE4
ABORT: Final = 0xE5

MESSAGE_BYTES_BASE: Final = 1_152
"""What a peer takes that has not said how much (§5.3.1)."""

_MAX_MESSAGE_SIZE: Final = 2
_BLOCK_WISE_TRANSFER: Final = 4
_BAD_CSM_OPTION: Final = 2
_DIAGNOSTIC_MAX: Final = 100

ConnectionState = Literal["opening", "open", "releasing", "closed"]
ConnectionEvent = Literal["settings_received", "released", "aborted", "lost", "drained"]

TRANSITIONS: Final[dict[ConnectionState, dict[ConnectionEvent, ConnectionState]]] = {
    # §5.3: nothing but a CSM may come first.
    "opening": {
        "settings_received": "open",
        "released": "releasing",
        "aborted": "closed",
        "lost": "closed",
    },
    "open": {
        # §5.3: later ones change what was said.
        "settings_received": "open",
        "released": "releasing",
        "aborted": "closed",
        "lost": "closed",
    },
    # §5.5: what was asked is still answered, then the connection ends.
    "releasing": {
        "settings_received": "releasing",
        "released": "releasing",
        "drained": "closed",
        "aborted": "closed",
        "lost": "closed",
    },
    "closed": {},
}


class Settings(NamedTuple):
    """What the peer said in its CSM."""

    message_bytes_max: int = MESSAGE_BYTES_BASE
    blocks: bool = False


class BadSettings(LwM2mError, ValueError):
    """A critical option of a CSM that is not known: the connection is aborted (§5.3.3)."""

    def __init__(self, number: int) -> None:
        super().__init__(f"option {number} of the CSM is critical and not understood")
        self.number = number


def settings_message(message_bytes_max: int) -> bytes:
    """Our CSM: how large a message may be, and that blocks and BERT are understood."""
    size = (_MAX_MESSAGE_SIZE, encode_uint(message_bytes_max))
    return signaling_message(CSM, options=(size, (_BLOCK_WISE_TRANSFER, b"")))


def signaling_message(
    code: int, token: bytes = b"", options: Options = (), diagnostic: str = ""
) -> bytes:
    """The bytes of a signaling message."""
    parts: list[bytes] = []
    append_options(parts, options)
    if diagnostic:
        parts += (b"\xff", diagnostic.encode())
    return encode_frame(code, token, b"".join(parts))


def abort_message(diagnostic: str, bad_csm_option: int | None = None) -> bytes:
    """An Abort (§5.6) that says why."""
    options: Options = ()
    if bad_csm_option is not None:
        options = ((_BAD_CSM_OPTION, encode_uint(bad_csm_option)),)
    return signaling_message(ABORT, options=options, diagnostic=diagnostic)


def read_settings(fields: bytes, before: Settings) -> Settings:
    """A CSM's settings, on top of earlier ones. Raises `BadSettings`, `MalformedMessage`."""
    size, blocks = before
    for number, value in _decode(fields)[0]:
        if number == _MAX_MESSAGE_SIZE and len(value) <= 4:
            size = decode_uint(value)
        elif number == _BLOCK_WISE_TRANSFER:
            blocks = True
        elif is_critical(number):
            raise BadSettings(number)
    return Settings(size, blocks)


def read_diagnostic(fields: bytes) -> str:
    """What an Abort or a Release says, for humans. Raises `MalformedMessage`."""
    text = _decode(fields)[1].decode(errors="replace")[:_DIAGNOSTIC_MAX]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _decode(fields: bytes) -> tuple[Options, bytes]:
    # §5.2: options are encoded as everywhere, their numbers have a space per code.
    message = decode_fields(GET, fields)
    return message.options, message.payload
