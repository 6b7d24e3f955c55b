"""Keeps one device registered with one server: when to send what, and what goes into it.

The states are `lwm2m.registration`'s; here are the object list and what makes an Update due.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol

import msgspec

from fake_devices.device.account import BROKER_OBJECT, PUBLICATION_OBJECT
from fake_devices.device.actions import SendRequest
from fake_devices.device.environment import Environment
from fake_devices.device.tree import ModelTemplate, ObjectTree
from lwm2m.bootstrap import ServerAccount
from lwm2m.coap import codes
from lwm2m.coap.options import MAX_AGE, decode_uint
from lwm2m.coap.requests import Request, Response, find_option
from lwm2m.codecs import content_formats, link_format
from lwm2m.objects import ObjectPath
from lwm2m.registration import (
    ClientAction,
    ClientRegistration,
    ClientState,
    RegisterRequest,
    ServerRules,
    UpdateRequest,
    encode_register,
    encode_update,
    list_objects,
)

LIFETIME: Final = ObjectPath(1, 0, 1)
BINDING: Final = "U"
"""The transports of a simulated device: UDP."""
_REGISTERED: Final = (ClientState.REGISTERED, ClientState.UPDATING)
# LwM2M Core §6.2.1: the objects of bootstrap are in no object list.
_UNLISTED: Final = frozenset({0, 21, 23})
_FORMATS: Final = {
    "1.0": (content_formats.TLV,),
    "1.1": (content_formats.SENML_CBOR, content_formats.TLV),
    "1.2": (content_formats.SENML_CBOR, content_formats.LWM2M_CBOR, content_formats.TLV),
}
# Query and object list are encoded apart: the list is the same for thousands of devices.
_NO_OBJECTS: Final = list_objects((), {})


class RegistrationOutcome(Enum):
    """What an answer, or its absence, meant to the device."""

    REGISTERED = "registered"
    NOT_REGISTERED = "not_registered"
    UPDATED = "updated"
    FORGOTTEN = "forgotten"
    LEFT = "left"


class Client(Protocol):
    """The device, for what its requests say of it."""

    @property
    def endpoint(self) -> str:
        """Its name."""

    @property
    def environment(self) -> Environment:
        """What it shares with others."""

    def object_list(self) -> bytes:
        """Its encoded object list."""


class AtRest(msgspec.Struct, frozen=True, gc=False):
    """A registration that stands and that nothing happens to: its id at the server, and when its
    next Update is due. All else follows from how the device was made."""

    registration_id: str
    update_at: float | None


class Registrar:
    """One registration; feed it answers and take a request whenever something happened."""

    __slots__ = (
        "_action",
        "_client",
        "_has_new_lifetime",
        "_links_at",
        "_names_binding",
        "_sent",
        "account",
        "bootstraps_on_failure",
    )

    def __init__(
        self,
        account: ServerAccount,
        rules: ServerRules,
        lifetime_s: int,
        versions: Sequence[str],
        at_rest: AtRest | None = None,
    ) -> None:
        """`at_rest`: as it was when it came to rest."""
        self.account = account
        self.bootstraps_on_failure = rules.bootstraps_on_failure
        if at_rest is None:
            self._client = ClientRegistration(lifetime_s, rules.retries, versions)
        else:
            location = (*_REGISTER_PATH, at_rest.registration_id)
            self._client = ClientRegistration.resumed(
                lifetime_s, rules.retries, versions, location, at_rest.update_at
            )
        self._action: ClientAction | None = None
        self._links_at: float | None = None
        self._has_new_lifetime = self._names_binding = False
        self._sent: SendRequest | None = None

    def at_rest(self, lifetime_s: int, version: str) -> AtRest | None:
        """What to keep while nothing happens; None when there is more to know, such as another
        lifetime or LwM2M version than it was made with."""
        client = self._client
        if (
            client.state is not ClientState.REGISTERED
            or self._action is not None
            or self._links_at is not None
            or self._has_new_lifetime
            or self._names_binding
            or client.lifetime_s != lifetime_s
            or client.lwm2m_version != version
            or len(client.location) != 2
            or client.location[0] is not _REGISTER_PATH[0]
        ):
            return None
        return AtRest(client.location[1], client.next_timer())

    @property
    def is_registered(self) -> bool:
        """Whether the server confirmed a registration and has not been found to forget it."""
        return self._client.state in _REGISTERED

    @property
    def gave_up(self) -> bool:
        """Whether every attempt failed."""
        return self._client.state is ClientState.GAVE_UP

    @property
    def location_text(self) -> str:
        """Where the registration lives at the server, such as `/rd/5a3f`."""
        return "/" + "/".join(self._client.location)

    def next_timer(self) -> float | None:
        """When `take_request` has to be called, in monotonic seconds."""
        due_at = self._client.next_timer()
        if self._links_at is None or self._client.state is not ClientState.REGISTERED:
            return due_at
        return self._links_at if due_at is None else min(due_at, self._links_at)

    def start(self) -> None:
        """Register, whatever was before."""
        self._action = self._client.register()

    def object_links_changed(self, at: float) -> None:
        """Instances were created or deleted: the list of them goes into an Update at `at`."""
        self._links_at = at

    def lifetime_changed(self, lifetime_s: int) -> None:
        """The server wrote another lifetime: an Update makes it count (LwM2M Core §6.2.2)."""
        self._client.lifetime_s = lifetime_s
        self._has_new_lifetime = True
        self.request_update()

    def request_update(self, *, names_binding: bool = False) -> None:
        """The server wants an Update now; one who is not registered registers anyway."""
        self._names_binding = self._names_binding or names_binding
        if self.is_registered:
            self._action = self._client.update() or self._action

    def disable(self, disable_s: float, now: float) -> None:
        """The server wants to hear nothing for so long (/1/x/4)."""
        if self.is_registered:
            self._action = self._client.disable(disable_s, now)

    def deregister(self) -> None:
        """End the registration, as when the device is switched off in good order."""
        if self.is_registered:
            self._action = self._client.deregister()

    def take_request(self, client: Client, now: float) -> SendRequest | None:
        """The request of `client` that is due at `now`, if any; until its answer nothing is."""
        action = self._action or self._client.handle_timer(now)
        if action is None and self._is_links_update_due(now):
            action = self._client.update()
        self._action = None
        if action is None:
            return None
        if action is ClientAction.SEND_REGISTER:
            request = self._register(client)
        elif action is ClientAction.SEND_UPDATE:
            request = self._update(client)
        else:
            request = Request(codes.DELETE, self._client.location)
        self._sent = SendRequest(request, self.account, at_s=now)
        return self._sent

    def awaits(self, sent: SendRequest) -> bool:
        """Whether this was the latest request: answers to earlier ones are nobody's."""
        return self._sent is sent

    def response_received(
        self, response: Response, now: float, chance: float
    ) -> RegistrationOutcome:
        """The server answered; `chance` is a random number of [0, 1)."""
        self._sent = None
        before = self._client.state
        max_age = find_option(response.options, MAX_AGE) if response.options else None
        self._action = self._client.response_received(
            response.code,
            _location(response.location_path),
            now,
            chance,
            None if max_age is None else decode_uint(max_age),
        )
        return self._outcome(before)

    def exchange_failed(
        self, now: float, chance: float, alert: int | None = None
    ) -> RegistrationOutcome:
        """The server did not answer within CoAP's limits, or security refused it by an alert."""
        self._sent = None
        before = self._client.state
        self._action = (
            self._client.exchange_failed(now, chance)
            if alert is None
            else self._client.alert_received(alert, now, chance)
        )
        return self._outcome(before)

    def _outcome(self, before: ClientState) -> RegistrationOutcome:
        was_registering = before is ClientState.REGISTERING
        if self.is_registered:
            return (
                RegistrationOutcome.REGISTERED if was_registering else RegistrationOutcome.UPDATED
            )
        if was_registering:
            return RegistrationOutcome.NOT_REGISTERED
        is_lost = before in _REGISTERED
        return RegistrationOutcome.FORGOTTEN if is_lost else RegistrationOutcome.LEFT

    def _is_links_update_due(self, now: float) -> bool:
        return (
            self._links_at is not None
            and self._links_at <= now
            and self._client.state is ClientState.REGISTERED
        )

    def _register(self, client: Client) -> Request:
        self._links_at, self._has_new_lifetime, self._names_binding = None, False, False
        state, environment = self._client, client.environment
        # Thousands of devices say the same but for their names.
        key = (state.lifetime_s, state.lwm2m_version)
        tail = environment.register_tails.get(key)
        if tail is None:
            tail = _register_tail(*key, environment.settings.queue_mode)
            if len(environment.register_tails) < _TAILS_KEPT:
                environment.register_tails[key] = tail
        return Request(
            codes.POST,
            _REGISTER_PATH,
            (f"ep={client.endpoint}", *tail),
            content_formats.LINK_FORMAT,
            payload=client.object_list(),
        )

    def _update(self, client: Client) -> Request:
        state = self._client
        query: tuple[str, ...] = ()
        if self._has_new_lifetime or self._names_binding:
            update = UpdateRequest(
                state.lifetime_s if self._has_new_lifetime else None,
                BINDING if self._names_binding else None,
                client.environment.settings.queue_mode if self._names_binding else None,
            )
            query = encode_update(update, state.lwm2m_version).query
            self._has_new_lifetime = self._names_binding = False
        if not self._links_at:
            return Request(codes.POST, state.location, query)
        self._links_at = None
        return Request(
            codes.POST,
            state.location,
            query,
            content_formats.LINK_FORMAT,
            payload=client.object_list(),
        )


_REGISTER_PATH: Final = ("rd",)
_TAILS_KEPT: Final = 256


def _register_tail(lifetime_s: int, lwm2m_version: str, queue_mode: bool) -> tuple[str, ...]:
    """The arguments of a Register that follow the endpoint name."""
    request = RegisterRequest("", lifetime_s, lwm2m_version, _NO_OBJECTS, BINDING, queue_mode)
    return encode_register(request).query[1:]


def _location(segments: tuple[str, ...]) -> tuple[str, ...]:
    """The same, with the segment that nearly all locations begin with kept once."""
    return _REGISTER_PATH + segments[1:] if segments[:1] == _REGISTER_PATH else segments


def object_list(tree: ObjectTree) -> bytes:
    """The encoded object list of a device with these instances, cached for its model."""
    cache = tree.template.object_lists
    payload = cache.get(tree.instances)
    if payload is None:
        payload = _encode_object_list(tree.template, tree.instances)
        if len(cache) < _OBJECT_LISTS_CACHED_MAX:
            cache[tree.instances] = payload
    return payload


_OBJECT_LISTS_CACHED_MAX: Final = 256


def _encode_object_list(template: ModelTemplate, instances: tuple[ObjectPath, ...]) -> bytes:
    found = list_objects(
        (each for each in instances if each.object_id not in _UNLISTED),
        {number: model.version for number, model in template.models.items()},
        _FORMATS[template.lwm2m_version],
        (BROKER_OBJECT, PUBLICATION_OBJECT),
    )
    return link_format.encode(found.links)
