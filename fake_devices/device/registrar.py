"""Keeps one device registered: when to send a Register or an Update, and what goes into it.

The states are `lwm2m.registration`'s; here are the object list and what makes an Update due.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from fake_devices.device.account import BROKER_OBJECT, PUBLICATION_OBJECT
from fake_devices.device.environment import Environment
from fake_devices.device.tree import ModelTemplate, ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats, link_format
from lwm2m.objects import ObjectPath
from lwm2m.registration import (
    ClientAction,
    ClientRegistration,
    ClientState,
    RegisterRequest,
    UpdateRequest,
    encode_register,
    encode_update,
    list_objects,
)

LWM2M_VERSION: Final = "1.1"
LIFETIME: Final = ObjectPath(1, 0, 1)
_REGISTERED: Final = (ClientState.REGISTERED, ClientState.UPDATING)
# Query and object list are encoded apart: the list is the same for thousands of devices.
_NO_OBJECTS: Final = list_objects((), {})


class RegistrationOutcome(Enum):
    """What an answer, or its absence, meant to the device."""

    REGISTERED = "registered"
    NOT_REGISTERED = "not_registered"
    UPDATED = "updated"
    FORGOTTEN = "forgotten"


class Registrar:
    """One device's registration; feed it answers and take a request whenever something happened."""

    __slots__ = (
        "_action",
        "_client",
        "_endpoint",
        "_environment",
        "_has_new_lifetime",
        "_links_at",
    )

    def __init__(self, endpoint: str, environment: Environment) -> None:
        self._endpoint = endpoint
        self._environment = environment
        self._client = ClientRegistration(environment.settings.lifetime_s, environment.retries)
        self._action: ClientAction | None = None
        self._links_at: float | None = None
        self._has_new_lifetime = False

    @property
    def is_registered(self) -> bool:
        """Whether the server confirmed a registration and has not been found to forget it."""
        return self._client.state in _REGISTERED

    @property
    def is_off(self) -> bool:
        """Whether the device was never switched on."""
        return self._client.state is ClientState.UNREGISTERED

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

    def object_links_changed(self, now: float) -> None:
        """Instances were created or deleted; several of them go into one Update."""
        self._links_at = now + self._environment.settings.object_links_delay_s

    def lifetime_changed(self, lifetime_s: int) -> None:
        """The server wrote another lifetime: an Update makes it count (LwM2M Core §6.2.2)."""
        self._client.lifetime_s = lifetime_s
        self._has_new_lifetime = True
        self.request_update()

    def request_update(self) -> None:
        """The server wants an Update now; one who is not registered registers anyway."""
        if self.is_registered:
            self._action = self._client.update() or self._action

    def take_request(self, tree: ObjectTree, now: float) -> Request | None:
        """The request that is due at `now`, if any; until its answer nothing is."""
        action = self._action or self._client.handle_timer(now)
        if action is None and self._is_links_update_due(now):
            action = self._client.update()
        self._action = None
        if action is ClientAction.SEND_REGISTER:
            return self._register(tree)
        return self._update(tree, now) if action is ClientAction.SEND_UPDATE else None

    def response_received(self, response: Response, now: float) -> RegistrationOutcome:
        """The server answered."""
        was_registering = self._client.state is ClientState.REGISTERING
        self._action = self._client.response_received(
            response.code, response.location_path, now, self._environment.chance()
        )
        return self._outcome(was_registering)

    def exchange_failed(self, now: float) -> RegistrationOutcome:
        """The server did not answer within CoAP's limits."""
        was_registering = self._client.state is ClientState.REGISTERING
        self._action = self._client.exchange_failed(now, self._environment.chance())
        return self._outcome(was_registering)

    def _outcome(self, was_registering: bool) -> RegistrationOutcome:
        if self.is_registered:
            return (
                RegistrationOutcome.REGISTERED if was_registering else RegistrationOutcome.UPDATED
            )
        return (
            RegistrationOutcome.NOT_REGISTERED if was_registering else RegistrationOutcome.FORGOTTEN
        )

    def _is_links_update_due(self, now: float) -> bool:
        return (
            self._links_at is not None
            and self._links_at <= now
            and self._client.state is ClientState.REGISTERED
        )

    def _register(self, tree: ObjectTree) -> Request:
        self._links_at, self._has_new_lifetime = None, False
        query = encode_register(
            RegisterRequest(self._endpoint, self._client.lifetime_s, LWM2M_VERSION, _NO_OBJECTS)
        ).query
        return Request(
            codes.POST, ("rd",), query, content_formats.LINK_FORMAT, payload=object_list(tree)
        )

    def _update(self, tree: ObjectTree, now: float) -> Request:
        lifetime_s = self._client.lifetime_s if self._has_new_lifetime else None
        query = encode_update(UpdateRequest(lifetime_s), LWM2M_VERSION).query
        self._has_new_lifetime = False
        if not self._links_at:
            return Request(codes.POST, self._client.location, query)
        self._links_at = None
        return Request(
            codes.POST,
            self._client.location,
            query,
            content_formats.LINK_FORMAT,
            payload=object_list(tree),
        )


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
        instances,
        {number: model.version for number, model in template.models.items()},
        (content_formats.SENML_CBOR, content_formats.TLV),
        (BROKER_OBJECT, PUBLICATION_OBJECT),
    )
    return link_format.encode(found.links)
