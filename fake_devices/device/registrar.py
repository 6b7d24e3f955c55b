"""Keeps one device registered: Register, Updates in time, a new Register when the server forgot it.

One request is under way at a time; what has changed meanwhile goes into the next.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from fake_devices.device.account import BROKER_OBJECT, PUBLICATION_OBJECT
from fake_devices.device.environment import Environment
from fake_devices.device.tree import ModelTemplate, ObjectTree
from fake_devices.device.uplink import pause_s
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats, link_format
from lwm2m.objects import ObjectPath

LWM2M_VERSION: Final = "1.1"
_LIFETIME: Final = ObjectPath(1, 0, 1)
_BINDING: Final = ObjectPath(1, 0, 7)


class RegistrationState(Enum):
    """Where a device stands with its server."""

    OFF = "off"
    REGISTERING = "registering"
    REGISTERED = "registered"
    UPDATING = "updating"
    WAITING = "waiting"


class RegistrationEvent(Enum):
    """What can happen to a registration, in the past tense."""

    SWITCHED_ON = "switched_on"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    UPDATE_FELL_DUE = "update_fell_due"
    PAUSE_ELAPSED = "pause_elapsed"


class RegistrationOutcome(Enum):
    """What a device wants to know of an answer."""

    REGISTERED = "registered"
    UPDATED = "updated"
    REFUSED = "refused"
    FORGOTTEN = "forgotten"


_S, _E = RegistrationState, RegistrationEvent

TRANSITIONS: Final[dict[RegistrationState, dict[RegistrationEvent, RegistrationState]]] = {
    _S.OFF: {_E.SWITCHED_ON: _S.REGISTERING},
    _S.REGISTERING: {
        _E.SWITCHED_ON: _S.REGISTERING,
        _E.ACCEPTED: _S.REGISTERED,
        _E.REFUSED: _S.WAITING,
        _E.UNANSWERED: _S.WAITING,
    },
    _S.REGISTERED: {_E.SWITCHED_ON: _S.REGISTERING, _E.UPDATE_FELL_DUE: _S.UPDATING},
    _S.UPDATING: {
        _E.SWITCHED_ON: _S.REGISTERING,
        _E.ACCEPTED: _S.REGISTERED,
        # LwM2M Core §6.2.2: 4.04 means that the server forgot the device, which registers again.
        # No other answer leaves a registration that the device could rely on.
        _E.REFUSED: _S.REGISTERING,
        _E.UNANSWERED: _S.WAITING,
    },
    _S.WAITING: {_E.SWITCHED_ON: _S.REGISTERING, _E.PAUSE_ELAPSED: _S.REGISTERING},
}
_SENDING: Final = frozenset({_S.REGISTERING, _S.UPDATING})


class Registrar:
    """See the module. `due_at` is when `make_request` has to be called, in monotonic seconds."""

    __slots__ = (
        "_attempt",
        "_endpoint",
        "_environment",
        "_lifetime_changed",
        "_links_changed",
        "_location",
        "_update_at",
        "due_at",
        "state",
    )

    def __init__(self, endpoint: str, environment: Environment) -> None:
        self._endpoint = endpoint
        self._environment = environment
        self.state = RegistrationState.OFF
        self.due_at: float | None = None
        self._location: tuple[str, ...] = ()
        self._attempt = 0
        self._update_at = 0.0
        self._links_changed = self._lifetime_changed = False

    @property
    def is_registered(self) -> bool:
        """Whether the server confirmed a registration and has not been found to forget it."""
        return self.state in (RegistrationState.REGISTERED, RegistrationState.UPDATING)

    @property
    def location_text(self) -> str:
        """Where the registration lives at the server, such as `/rd/5a3f`."""
        return "/" + "/".join(self._location)

    def start(self, now: float) -> None:
        """Register, whatever was before."""
        self._move(RegistrationEvent.SWITCHED_ON)
        self._attempt = 0
        self._location = ()
        self.due_at = now

    def object_links_changed(self, now: float) -> None:
        """Instances were created or deleted; several of them go into one Update."""
        self._links_changed = True
        self._advance(now + self._environment.settings.object_links_delay_s)

    def lifetime_changed(self, now: float) -> None:
        """The server wrote another lifetime: it takes effect by an Update (LwM2M Core §6.2.2)."""
        self._lifetime_changed = True
        self._advance(now)

    def request_update(self, now: float) -> None:
        """The server executed the Registration Update Trigger."""
        self._advance(now)

    def is_due(self, now: float) -> bool:
        """Whether a request is to be made now."""
        return self.due_at is not None and self.due_at <= now

    def make_request(self, tree: ObjectTree) -> Request:
        """The Register or Update that is due; until its answer nothing is."""
        if self.state is RegistrationState.REGISTERED:
            self._move(RegistrationEvent.UPDATE_FELL_DUE)
        elif self.state is RegistrationState.WAITING:
            self._move(RegistrationEvent.PAUSE_ELAPSED)
        self.due_at = None
        self._attempt += 1
        with_links, self._links_changed = self._links_changed, False
        with_lifetime, self._lifetime_changed = self._lifetime_changed, False
        self._update_at = _lifetime_s(tree) * self._environment.settings.update_at_ratio
        if self.state is RegistrationState.UPDATING:
            return _update(tree, self._location, with_links, with_lifetime)
        return _register(tree, self._endpoint)

    def response_received(self, response: Response, now: float) -> RegistrationOutcome:
        """The server answered."""
        was_registering = self.state is RegistrationState.REGISTERING
        expected = codes.CREATED if was_registering else codes.CHANGED
        if response.code == expected:
            self._move(RegistrationEvent.ACCEPTED)
            self._attempt = 0
            if was_registering:
                self._location = response.location_path
            self.due_at = now + self._update_at
            if self._links_changed or self._lifetime_changed:
                self.due_at = now
            return (
                RegistrationOutcome.REGISTERED if was_registering else RegistrationOutcome.UPDATED
            )
        self._move(RegistrationEvent.REFUSED)
        if was_registering:
            self._pause(now)
            return RegistrationOutcome.REFUSED
        self.due_at = now
        return RegistrationOutcome.FORGOTTEN

    def exchange_failed(self, now: float) -> RegistrationOutcome:
        """The server did not answer within CoAP's limits."""
        was_registering = self.state is RegistrationState.REGISTERING
        self._move(RegistrationEvent.UNANSWERED)
        self._pause(now)
        return RegistrationOutcome.REFUSED if was_registering else RegistrationOutcome.FORGOTTEN

    def _pause(self, now: float) -> None:
        settings = self._environment.settings
        self.due_at = now + pause_s(
            self._attempt,
            settings.register_retry_s,
            settings.register_retry_s_max,
            settings.reconnect_jitter_ratio,
            self._environment.chance(),
        )

    def _advance(self, at: float) -> None:
        if self.state is RegistrationState.REGISTERED and self.due_at is not None:
            self.due_at = min(self.due_at, at)

    def _move(self, event: RegistrationEvent) -> None:
        self.state = TRANSITIONS[self.state][event]


def _register(tree: ObjectTree, endpoint: str) -> Request:
    binding = tree.get(_BINDING)
    query = (
        f"ep={endpoint}",
        f"lt={_lifetime_s(tree)}",
        f"lwm2m={LWM2M_VERSION}",
        f"b={binding if isinstance(binding, str) else 'U'}",
    )
    return Request(
        codes.POST, ("rd",), query, content_formats.LINK_FORMAT, payload=_object_links(tree)
    )


def _update(
    tree: ObjectTree, location: tuple[str, ...], with_links: bool, with_lifetime: bool
) -> Request:
    query = (f"lt={_lifetime_s(tree)}",) if with_lifetime else ()
    if not with_links:
        return Request(codes.POST, location, query)
    return Request(
        codes.POST, location, query, content_formats.LINK_FORMAT, payload=_object_links(tree)
    )


def _lifetime_s(tree: ObjectTree) -> int:
    value = tree.get(_LIFETIME)
    return value if isinstance(value, int) else 86_400


def _object_links(tree: ObjectTree) -> bytes:
    cache = tree.template.register_payloads
    payload = cache.get(tree.instances)
    if payload is None:
        payload = cache[tree.instances] = encode_object_links(tree.template, tree.instances)
    return payload


def encode_object_links(template: ModelTemplate, instances: tuple[ObjectPath, ...]) -> bytes:
    """The object list of a Register: objects with a version or without instances, and instances."""
    formats = f"{content_formats.SENML_CBOR} {content_formats.TLV}"
    links = [link_format.Link("/", {"ct": formats})]
    objects = {path.object_id for path in instances} | {BROKER_OBJECT, PUBLICATION_OBJECT}
    for object_id in sorted(objects):
        version = template.models[object_id].version
        own = [path for path in instances if path.object_id == object_id]
        # LwM2M Core §7.2.2: without `ver` an object is of version 1.0.
        if version != "1.0":
            links.append(link_format.Link(f"/{object_id}", {"ver": version}))
        elif not own:
            links.append(link_format.Link(f"/{object_id}"))
        links += [link_format.Link(str(path)) for path in own]
    return link_format.encode(links)
