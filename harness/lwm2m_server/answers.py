"""What the server answers to a device's request, and who that turned out to be."""

from __future__ import annotations

from typing import Final

import msgspec

from harness.lwm2m_server.devices import Device
from lwm2m.coap import Response, codes, options

# How long a device that was answered 5.03 should wait, in seconds. A minute: RFC 7252 §5.10.5's
# default freshness, and enough for a full table or log to be worked off.
RETRY_AFTER_S: Final = 60
NO_DEVICE: Final = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A response, and the registered device that has just spoken (None: nobody that is one)."""

    response: Response
    device: Device | None


def refusal(code: int, detail: str) -> Answer:
    """An error with its diagnostic text; 5.03 with Max-Age (RFC 7252 §5.9.3.4)."""
    retry = ((options.MAX_AGE, options.encode_uint(RETRY_AFTER_S)),)
    return Answer(
        Response(
            code,
            detail.encode(errors="replace"),
            options=retry if code == codes.SERVICE_UNAVAILABLE else (),
        ),
        NO_DEVICE,
    )
