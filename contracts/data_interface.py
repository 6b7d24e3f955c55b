"""The LwM2M server's data interface: JSON frames over a WebSocket, one object a frame.

The server keeps an event log; `ack` moves its acknowledged position; commands go down with an id
that the caller chose. An event frame is published on MQTT byte for byte, so that a bridge never
has to encode what the server has encoded.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from contracts.errors import ContractError, UnsupportedVersion

VERSION = 1
PATH = "/v1/data"

Operation = Literal[
    "read",
    "discover",
    "write",
    "write_attributes",
    "execute",
    "create",
    "delete",
    "observe",
    "observe_composite",
    "cancel_observation",
    "read_composite",
    "write_composite",
]
EventKind = Literal[
    "registered",
    "updated",
    "deregistered",
    "notification",
    "observation_ended",
    "send",
    "sleeping",
    "awake",
    "bootstrap",
    "result",
]
DeregistrationReason = Literal["client", "expired", "replaced"]
# cancelled: by a command; replaced: by a newer observe of the same; registration_ended: with the
# registration; refused: the device answered with an error, on a notification or on the way back
# after a restart; malformed: a notification that broke CoAP.
ObservationEnd = Literal["cancelled", "replaced", "registration_ended", "refused", "malformed"]
ValueType = Literal[
    "string", "integer", "unsigned", "float", "boolean", "opaque", "time", "objlnk", "corelnk"
]
# Operations whose repetition changes something: once sent, never sent again.
NEVER_SENT_TWICE: frozenset[str] = frozenset({"execute", "create"})
Stage = Literal["invalid", "not_registered", "expired", "timeout", "coap", "cancelled", "unknown"]
SecurityMode = Literal["nosec", "psk", "rpk", "x509", "oscore"]


class Value(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One value at one path. Integers beyond 2^53 are strings, opaque base64, objlnk `o:i`.

    `time_us` is when the device took it, Unix time, where it says so: history in a notification or
    a send has a path more than once.
    """

    path: str
    type: ValueType
    value: str | int | float | bool
    time_us: int | None = None


class ObjectLink(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One link of a registration: a path such as `/3/0`, and attributes such as `ver`."""

    path: str
    attributes: dict[str, str] = {}


class Security(msgspec.Struct, frozen=True, gc=False):
    """How the device's datagrams are protected, and the proven identity (None on NoSec)."""

    mode: SecurityMode
    identity: str | None = None


class Registration(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A device as its server holds it. `address` is `host:port`, `registered_at_us` Unix time."""

    registration_id: str
    endpoint: str
    lifetime_s: int
    lwm2m_version: str
    binding: str
    queue_mode: bool
    object_links: list[ObjectLink] | msgspec.Raw
    address: str
    security: Security
    registered_at_us: int


class Holder(msgspec.Struct, frozen=True, gc=False):
    """Which server held the device when a command was issued."""

    server: str
    registration_id: str


class Completes(msgspec.Struct, frozen=True, gc=False):
    """On the last command of a procedure: its success makes the server emit a `bootstrap` event."""

    procedure: Literal["credentials"]
    version: str


class ResultError(msgspec.Struct, frozen=True, gc=False):
    """Why an operation has no good answer. `unknown`: it may or may not have happened."""

    stage: Stage
    detail: str


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How a command ended. `code` is the CoAP code as text (`"2.04"`), None when there was none.

    A code of 2.xx with an `error` (stage `coap`): the device did it, but what it answered cannot be
    read or is not what the standard asks; it is neither success nor refusal. `remark` tells of a
    success what was not as the standard asks. `observation_id` is the id of the observe command,
    which the observation's events carry. `local`: the server alone did it, no request was needed.
    """

    id: str
    operation: Operation
    code: str | None = None
    path: str | None = None
    values: list[Value] | None = None
    links: list[ObjectLink] | None = None
    location: str | None = None
    error: ResultError | None = None
    observation_id: str | None = None
    remark: str | None = None
    local: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it was done, and answered as the standard asks."""
        return self.error is None and (self.local or self._is_positive)

    @property
    def is_unreadable(self) -> bool:
        """Whether the device did it and its answer cannot be used: its effect is not known."""
        return self.error is not None and self._is_positive

    @property
    def _is_positive(self) -> bool:
        return self.code is not None and self.code.startswith("2.")


class _Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    # A factory, because `omit_defaults` would leave a plain default out: every frame carries `v`.
    v: int = msgspec.field(default_factory=lambda: VERSION)

    def __post_init__(self) -> None:
        if self.v > VERSION:
            raise UnsupportedVersion("this frame", self.v, VERSION)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server takes before it refuses."""

    commands_queued_max: int
    commands_per_device_max: int
    frame_bytes_max: int


class Hello(_Frame, frozen=True, tag="hello"):
    """The server's first frame. `oldest` is the first event it can still deliver (`newest` + 1
    when there is none)."""

    server: str
    epoch: str
    oldest: int
    newest: int
    limits: Limits


class Resume(_Frame, frozen=True, tag="resume"):
    """The bridge's first frame. `epoch` None, or an unknown one, asks for a snapshot.

    `after` is the highest contiguous event that this bridge *received*: events go on behind it.
    Commands without an outcome are sent again by the bridge, with the same id.
    """

    epoch: str | None
    after: int


class Snapshot(_Frame, frozen=True, tag="snapshot"):
    """Part of all registrations as of `as_of`; the one with `last` true ends them.

    The events that follow begin after the acknowledged position, so the first of them may be at or
    before `as_of`: those are published like the others and no longer change the registry.
    """

    epoch: str
    as_of: int
    registrations: list[Registration]
    last: bool


class Event(_Frame, frozen=True, tag="event"):
    """What happened to a device; also the MQTT payload of an event topic.

    (`server`, `epoch`, `seq`) is the key for duplicates; `at_us` Unix time. `snapshot` is true on
    MQTT when a bridge tells of a registration that it learned from a snapshot: `seq` is `as_of`.

    A `notification` is of `path`, or of `paths` when it is a composite one; `observation_id` is the
    id of the command that began the observation, `sequence` the Observe option's number (RFC 7641
    §3.4), `detail` why it cannot be read and has no `values`. The values of `send` have full paths.
    `dropped`, of a `notification` or `observation_ended`, is how many notifications of the same
    observation came just before and were not told, because there were too many.
    """

    server: str
    epoch: str
    seq: int
    kind: EventKind
    endpoint: str
    at_us: int
    registration_id: str | None = None
    registration: Registration | None = None
    reason: DeregistrationReason | None = None
    result: Outcome | None = None
    completed: Completes | None = None
    path: str | None = None
    values: list[Value] | None = None
    snapshot: bool = False
    paths: list[str] | None = None
    observation_id: str | None = None
    sequence: int | None = None
    ended: ObservationEnd | None = None
    detail: str | None = None
    dropped: int | None = None


class RegistrationEvent(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="event"):
    """An `Event` of kind `registered` or `updated`, byte for byte as `Event` encodes it.

    A server makes one for each request of a whole fleet: it has no field that is left out.
    """

    server: str
    epoch: str
    seq: int
    kind: Literal["registered", "updated"]
    endpoint: str
    at_us: int
    registration_id: str
    registration: Registration
    v: int = VERSION


class Ack(_Frame, frozen=True, tag="ack"):
    """All events up to `seq` of `epoch` have been published and acknowledged."""

    epoch: str
    seq: int


class Command(_Frame, frozen=True, tag="command"):
    """An operation on a device; also the MQTT payload of the command topics.

    `id` is the caller's; a repeated id gets the stored outcome. `expires_at_us` is Unix time.
    `write` replaces the instance or resource unless `mode` is `update`; `values` have full paths.
    For `create`, `path` is the object or the new instance; values of instance 65535 leave its id to
    the device, and those of an object may be of several instances, each with its id, which the
    device creates all or not at all. `format` is a CoAP content format: of what is sent, or asked
    for by Accept; without it the server chooses one that the device takes, and with `any_format`
    the device does.

    `paths` are of the composite operations (`/` is all there is) and of the cancellation of a
    composite observation; in write_composite they are resource instances to remove. `attributes`
    are of write_attributes (an empty text removes one) and, from LwM2M 1.2, of observe and
    observe_composite. `depth` (0 to 3) is of discover, from LwM2M 1.2. With `passive`,
    cancel_observation sends nothing: the next notification is answered by Reset.
    """

    id: str
    endpoint: str
    operation: Operation
    expires_at_us: int
    path: str | None = None
    paths: list[str] | None = None
    values: list[Value] | None = None
    mode: Literal["replace", "update"] = "replace"
    arguments: str | None = None
    attributes: dict[str, str] | None = None
    format: int | None = None
    holder: Holder | None = None
    completes: Completes | None = None
    issued_by: str | None = None
    depth: int | None = None
    passive: bool = False
    any_format: bool = False


class Cancel(_Frame, frozen=True, tag="cancel"):
    """Take a command back that has not been sent; its outcome is then `cancelled`.

    Also a payload of the command topics: the bridge that holds the device passes it on.
    """

    id: str


class Result(_Frame, frozen=True, tag="result"):
    """The stored outcome of a repeated command id (a first outcome comes as an event)."""

    server: str
    endpoint: str
    result: Outcome


class ErrorFrame(_Frame, frozen=True, tag="error"):
    """Why a frame was refused; the connection stays open unless `fatal`."""

    detail: str
    fatal: bool = False
    id: str | None = None


_F = TypeVar("_F")

ServerFrame = Hello | Snapshot | Event | Result | ErrorFrame
BridgeFrame = Resume | Ack | Command | Cancel

_server_frames = msgspec.json.Decoder(ServerFrame)
_bridge_frames = msgspec.json.Decoder(BridgeFrame)
_events = msgspec.json.Decoder(Event)
_commands = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


def encode(frame: msgspec.Struct) -> bytes:
    """One frame as JSON. The version goes along."""
    return _encoder.encode(frame)


def decode_server_frame(data: bytes | str) -> ServerFrame:
    """A frame that a server sent. Raises `ContractError` with the place that is wrong."""
    frame: ServerFrame = _decode(_server_frames, data)
    return frame


def decode_bridge_frame(data: bytes | str) -> BridgeFrame:
    """A frame that a bridge sent. Raises `ContractError` with the place that is wrong."""
    frame: BridgeFrame = _decode(_bridge_frames, data)
    return frame


def decode_event(data: bytes) -> Event:
    """The payload of an event topic. Raises `ContractError`."""
    return _decode(_events, data)


def decode_command(data: bytes) -> Command:
    """The payload of a command topic. Raises `ContractError`."""
    return _decode(_commands, data)


def _decode(decoder: msgspec.json.Decoder[_F], data: bytes | str) -> _F:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error.__cause__, UnsupportedVersion):
            raise error.__cause__ from None
        raise ContractError(f"not a frame of the data interface: {error}") from error
