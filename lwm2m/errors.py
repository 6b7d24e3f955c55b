"""Every error that the protocol code raises, and who is at fault.

LwM2mError
├── MalformedPayload          the other side's bytes break their format
│   ├── MalformedCbor
│   ├── MalformedJson
│   ├── MalformedLinkFormat
│   ├── MalformedLwm2mCbor
│   ├── MalformedOmaJson
│   ├── MalformedOpaque
│   ├── MalformedPackage
│   │   └── DamagedPackage
│   ├── MalformedSenml
│   ├── MalformedText
│   └── MalformedTlv
│       └── TruncatedTlv
├── UnsupportedContentFormat  the bytes may be right, this side does not speak that format
├── IllegalPath               a text or a tuple that is no object path
├── InvalidValue              a value does not fit the resource's definition
├── OperationNotAllowed       the resource's definition has no such operation
├── MalformedAttribute        a notification attribute that is unknown, misplaced or contradictory
├── MalformedDefinition       an object definition of ours or of a user's is wrong
│   └── DefinedTwice          the same version of an object, and nobody said which of them counts
├── MalformedMessage          lwm2m.coap: a datagram that is not CoAP
├── MalformedBlock            lwm2m.coap: a Block option without meaning
├── BlockwiseBroken           lwm2m.coap: the other side's blocks make no body
├── BadOption                 lwm2m.coap: a critical option that is unknown or malformed
├── PeerQueueFull             lwm2m.coap: the caller asks more than NSTART's queue holds
├── UnknownExchange           lwm2m.coap: the caller answers what does not wait for an answer
├── NotLoopback               lwm2m.transport: the caller names a local address that is not ours
├── InvalidMaterial           lwm2m.transport.oscore: material that makes no security context
├── UnknownContext            lwm2m.transport.oscore: the caller names a context that is not there
├── MalformedOscore           lwm2m.transport.oscore: an option, or what was encrypted, is broken
├── DecryptionFailed          … the other end of the context did not make these bytes
├── Replayed                  … a sequence number that came before
├── FreshnessUnknown          … the replay window was lost: an Echo has to come back
├── SequenceExhausted         … a context without sequence numbers left
├── MalformedFrame            lwm2m.transport.reliable: bytes that are no CoAP over TCP
├── BadSettings               … a critical option of a CSM that is not known
├── ConnectionGone            … the caller asks over a connection that has ended
├── DtlsError                 lwm2m.transport.dtls
│   ├── MissingBinding        the installed cryptography lacks an OpenSSL function
│   └── UnusableCredentials   the caller's keys, certificates or cipher suites cannot be used
├── RequestRefused            a client's request must be answered with `code`
│   ├── BootstrapRefused      … a Bootstrap-Request or Bootstrap-Pack-Request
│   └── RegistrationRefused   … a Register or Update
│       └── UnknownRegistration
└── IllegalTransition         the caller asked for a step that the state does not allow
"""

from __future__ import annotations


class LwM2mError(Exception):
    """Base of all errors of this package."""


class MalformedPayload(LwM2mError, ValueError):
    """Bytes from the other side break their content format; answered 4.00 Bad Request."""


class MalformedCbor(MalformedPayload):
    """Not one CBOR data item of the kinds that are taken here (RFC 8949)."""


class MalformedJson(MalformedPayload):
    """Not one JSON text of the kinds that are taken here (RFC 8259)."""


class MalformedLinkFormat(MalformedPayload):
    """Not a link-format document (RFC 6690 §2); `offset` is where it goes wrong."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset


class MalformedLwm2mCbor(MalformedPayload):
    """Not LwM2M CBOR: maps of ids, with values at the ends."""


class MalformedOmaJson(MalformedPayload):
    """Not OMA JSON of LwM2M 1.0. `entry` is the index, from 0, of the entry at fault; None when it
    is the document as a whole.
    """

    def __init__(self, reason: str, entry: int | None = None) -> None:
        super().__init__(reason if entry is None else f"entry {entry}: {reason}")
        self.entry = entry


class MalformedOpaque(MalformedPayload):
    """An octet-stream payload that cannot be this resource's value."""


class MalformedPackage(MalformedPayload):
    """Not a firmware package of our format (result 6, unsupported package type)."""


class DamagedPackage(MalformedPackage):
    """A firmware package whose bytes are not those that were packed (result 5)."""


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


class MalformedAttribute(LwM2mError, ValueError):
    """A notification attribute that is unknown, misplaced or contradictory; answered 4.00."""

    def __init__(self, attribute: str, reason: str) -> None:
        super().__init__(f"{attribute[:40]} {reason}")
        self.attribute = attribute
        self.reason = reason


class MalformedDefinition(LwM2mError):
    """An object definition file cannot be read, or contradicts itself.

    `problems` has one line of text for each thing that is wrong.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DefinedTwice(MalformedDefinition):
    """A version of an object is defined already, and nobody said which definition counts."""


class RequestRefused(LwM2mError):
    """A request of a client that must be answered with the CoAP code `code`.

    `reason` is a short name to count by, such as `missing_endpoint_name`.
    """

    def __init__(self, code: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason
        self.detail = detail


class BootstrapRefused(RequestRefused):
    """A Bootstrap-Request or Bootstrap-Pack-Request that is not granted."""


class RegistrationRefused(RequestRefused):
    """A Register or Update that is not accepted."""


class UnknownRegistration(RegistrationRefused):
    """No such registration: 4.04, upon which a client registers again (LwM2M Core §6.2.2)."""


class IllegalTransition(LwM2mError):
    """The state table has no such step; the caller is at fault."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"{event} is not possible in state {state}")
        self.state = state
        self.event = event
