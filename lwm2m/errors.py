"""Every error that the protocol code raises, and who is at fault.

LwM2mError
├── MalformedPayload          the other side's bytes break their format
│   ├── MalformedCbor
│   ├── MalformedLinkFormat
│   ├── MalformedOpaque
│   ├── MalformedSenml
│   ├── MalformedText
│   └── MalformedTlv
│       └── TruncatedTlv
├── UnsupportedContentFormat  the bytes may be right, this side does not speak that format
├── IllegalPath               a text or a tuple that is no object path
├── InvalidValue              a value does not fit the resource's definition
├── OperationNotAllowed       the resource's definition has no such operation
├── MalformedDefinition       an object definition of ours is wrong
├── MalformedMessage          lwm2m.coap: a datagram that is not CoAP
├── MalformedBlock            lwm2m.coap: a Block option without meaning
├── BlockwiseBroken           lwm2m.coap: the other side's blocks make no body
├── BadOption                 lwm2m.coap: a critical option that is unknown or malformed
├── PeerQueueFull             lwm2m.coap: the caller asks more than NSTART's queue holds
├── UnknownExchange           lwm2m.coap: the caller answers what does not wait for an answer
├── NotLoopback               lwm2m.transport: the caller names a local address that is not ours
├── RegistrationRefused       a Register or Update must be answered with `code`
│   └── UnknownRegistration
└── IllegalTransition         the caller asked for a step that the state does not allow
"""

from __future__ import annotations


class LwM2mError(Exception):
    """Base of all errors of this package."""


class MalformedPayload(LwM2mError, ValueError):
    """Bytes from the other side break their content format; answered 4.00 Bad Request."""


class MalformedCbor(MalformedPayload):
    """Not one CBOR data item of the kinds that are taken here (RFC 8949)."""


class MalformedLinkFormat(MalformedPayload):
    """Not a link-format document (RFC 6690 §2); `offset` is where it goes wrong."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset


class MalformedOpaque(MalformedPayload):
    """An octet-stream payload that cannot be this resource's value."""


class MalformedSenml(MalformedPayload):
    """Not a SenML pack (RFC 8428). `record` is the index, from 0, of the record at fault; None
    when it is the pack as a whole.
    """

    def __init__(self, reason: str, record: int | None = None) -> None:
        super().__init__(reason if record is None else f"record {record}: {reason}")
        self.record = record


class MalformedText(MalformedPayload):
    """A plain-text payload that is no value of the resource's type."""


class MalformedTlv(MalformedPayload):
    """Not OMA TLV, or TLV that does not fit the path; `offset` is the record's first byte."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset


class TruncatedTlv(MalformedTlv):
    """A TLV record says that it is longer than what is there."""

    def __init__(self, offset: int, needed: int, available: int) -> None:
        super().__init__(f"needs {needed} bytes and {available} are left", offset)
        self.needed = needed
        self.available = available


class UnsupportedContentFormat(LwM2mError):
    """A content format that has no codec here; answered 4.15, or 4.06 when it was asked for."""

    def __init__(self, content_format: int | None) -> None:
        named = "a payload without content format" if content_format is None else content_format
        super().__init__(f"{named} cannot be decoded or encoded")
        self.content_format = content_format


class IllegalPath(LwM2mError, ValueError):
    """Not an object path: one to four ids from 0 to 65534 (LwM2M Core §7.3)."""


class InvalidValue(LwM2mError, ValueError):
    """A value does not fit its resource; `resource` names it as the definition does."""

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource}: {reason}")
        self.resource = resource
        self.reason = reason


class OperationNotAllowed(LwM2mError):
    """The resource's definition does not allow the operation; answered 4.05."""


class MalformedDefinition(LwM2mError):
    """An object definition file cannot be read, or contradicts itself."""


class RegistrationRefused(LwM2mError):
    """A Register or Update that must be answered with the CoAP code `code`.

    `reason` is a short name to count by, such as `missing_endpoint_name`.
    """

    def __init__(self, code: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason
        self.detail = detail


class UnknownRegistration(RegistrationRefused):
    """No such registration: 4.04, upon which a client registers again (LwM2M Core §6.2.2)."""


class IllegalTransition(LwM2mError):
    """The state table has no such step; the caller is at fault."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"{event} is not possible in state {state}")
        self.state = state
        self.event = event
