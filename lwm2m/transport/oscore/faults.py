"""What goes wrong with protected messages, apart from the library that finds it out."""

from __future__ import annotations

from typing import Any, TypeAlias

from lwm2m.errors import LwM2mError

Binding: TypeAlias = Any
"""What ties a response to its request (RFC 8613 §5.4): a value of aiocoap's, only passed on."""


class MalformedOscore(LwM2mError, ValueError):
    """An OSCORE option, or what was encrypted under it, breaks RFC 8613; answered 4.02 or 4.00."""


class DecryptionFailed(LwM2mError):
    """Bytes that the other end of this context did not make; answered 4.00."""


class Replayed(LwM2mError):
    """A sequence number that came already, or is too old to know (RFC 8613 §7.4); 4.01."""


class FreshnessUnknown(LwM2mError):
    """A request that may be a replay from before a restart; `echo` has to come back (B.1.2)."""

    def __init__(self, binding: Binding, echo: bytes) -> None:
        super().__init__("the replay window was lost")
        self.binding = binding
        self.echo = echo


class SequenceExhausted(LwM2mError, RuntimeError):
    """A context has used all of its 2^40 sequence numbers: it needs new material."""


class UnknownContext(LwM2mError, LookupError):
    """There is no security context of that id."""
