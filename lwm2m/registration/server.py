"""A server's registrations: who is registered, since when, until when."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from lwm2m.coap import codes
from lwm2m.errors import IllegalTransition, RegistrationRefused, UnknownRegistration
from lwm2m.registration.expiry import ExpiryWheel
from lwm2m.registration.objects import RegisteredObjects
from lwm2m.registration.requests import NO_CHANGE, RegisterRequest, UpdateRequest
from lwm2m.registration.states import SERVER_TRANSITIONS, ServerEvent, ServerState

EndReason = Literal["client", "expired", "replaced"]

# Of the table and its words, what every request asks for: an enumeration's member is slow to find.
_ABSENT = ServerState.ABSENT
_ON_ABSENT = SERVER_TRANSITIONS[ServerState.ABSENT]
_ON_REGISTERED = SERVER_TRANSITIONS[ServerState.REGISTERED]
_REGISTER_ACCEPTED = ServerEvent.REGISTER_ACCEPTED
_UPDATE_RECEIVED = ServerEvent.UPDATE_RECEIVED


class Registration(msgspec.Struct, frozen=True, gc=False):
    """One device as its server holds it. Times are seconds of the clock that the server uses.

    `peer` is where its datagrams come from; `identity` who its credentials prove it to be, None
    without security. The other fields are as in `RegisterRequest`.
    """

    registration_id: str
    endpoint_name: str
    lifetime_s: int
    lwm2m_version: str
    binding: str
    queue_mode: bool
    objects: RegisteredObjects
    peer: Hashable
    identity: str | None
    registered_at: float
    renewed_at: float
    sms_number: str | None = None
    profile_ids: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def expires_at(self) -> float:
        """When it ends unless it is renewed; infinite for a lifetime of 0."""
        return self.renewed_at + self.lifetime_s if self.lifetime_s else math.inf


class RegistrationEnded(msgspec.Struct, frozen=True, gc=False):
    """A registration is over, and with it the device's observations."""

    registration: Registration
    reason: EndReason


class Registered(msgspec.Struct, frozen=True, gc=False):
    """A device registered. `ended` is the registration that it had before."""

    registration: Registration
    ended: RegistrationEnded | None = None


class RegistrationUpdated(msgspec.Struct, frozen=True, gc=False):
    """A device renewed its registration; `before` is what it was."""

    registration: Registration
    before: Registration

    @property
    def objects_changed(self) -> bool:
        """Whether the Update brought another object list."""
        return self.registration.objects.links != self.before.objects.links


class RegistrationTable:
    """All registrations of one server; at most one per endpoint name.

    `draw_id` makes registration ids that nobody can guess. Lifetimes end by a wheel of seconds, so
    that a renewal costs the same with any number of registrations.
    """

    def __init__(self, draw_id: Callable[[], str], registrations_max: int = 1_000_000) -> None:
        self._draw_id = draw_id
        self._registrations_max = registrations_max
        self._by_id: dict[str, Registration] = {}
        self._id_of_endpoint: dict[str, str] = {}
        self._wheel = ExpiryWheel(lambda found: self._by_id[found].expires_at)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Registration]:
        """All registrations, in the order in which they were made."""
        return iter(self._by_id.values())

    def by_id(self, registration_id: str) -> Registration | None:
        """The registration with this id."""
        return self._by_id.get(registration_id)

    def by_endpoint(self, endpoint_name: str) -> Registration | None:
        """The registration of this endpoint."""
        registration_id = self._id_of_endpoint.get(endpoint_name)
        return None if registration_id is None else self._by_id[registration_id]

    @property
    def is_full(self) -> bool:
        """Whether no further endpoint name can register."""
        return len(self._by_id) >= self._registrations_max

    def register(
        self,
        request: RegisterRequest,
        peer: Hashable,
        identity: str | None,
        now: float,
        endpoint_name: str | None = None,
    ) -> Registered:
        """Register a device; a registration that its endpoint name had ends.

        With `endpoint_name` in place of the request's own, one request serves all devices of a
        model. Raises `RegistrationRefused`: 5.03 when the table is full, 4.03 when a datagram
        without security would end a registration that was made with it.
        """
        name = request.endpoint_name if endpoint_name is None else endpoint_name
        previous = self.by_endpoint(name)
        ended = None
        if previous is not None:
            ended = self._replace(previous, identity, now)
        elif self.is_full:
            raise RegistrationRefused(
                codes.SERVICE_UNAVAILABLE, "table_full", "no room for another registration"
            )
        return Registered(self.register_new(request, name, peer, identity, now), ended)

    def register_new(
        self,
        request: RegisterRequest,
        endpoint_name: str,
        peer: Hashable,
        identity: str | None,
        now: float,
    ) -> Registration:
        """`register` of an endpoint name that has no registration, while the table is not full."""
        by_id = self._by_id
        registration_id = self._draw_id()
        while registration_id in by_id:
            registration_id = self._draw_id()
        lifetime_s = request.lifetime_s
        # What is absent, as a new id is, can only be registered: nothing to look up in the table.
        by_id[registration_id] = registration = Registration(
            registration_id,
            endpoint_name,
            lifetime_s,
            request.lwm2m_version,
            request.binding,
            request.queue_mode,
            request.objects,
            peer,
            identity,
            now,
            now,
            request.sms_number,
            request.profile_ids,
            request.parameters,
        )
        self._id_of_endpoint[endpoint_name] = registration_id
        self._wheel.add(registration_id, now + lifetime_s if lifetime_s else math.inf)
        return registration

    def register_all_new(
        self,
        requests: Sequence[RegisterRequest],
        endpoint_names: Sequence[str],
        peers: Sequence[Hashable],
        now: float,
    ) -> list[Registration]:
        """`register_new` of many at one moment, none of whom has an identity; the names differ."""
        by_id = self._by_id
        ids = [self._draw_id() for _ in endpoint_names]
        while len(set(ids)) < len(ids) or not by_id.keys().isdisjoint(ids):
            ids = [self._draw_id() for _ in endpoint_names]
        made = [
            Registration(
                registration_id,
                endpoint_name,
                said.lifetime_s,
                said.lwm2m_version,
                said.binding,
                said.queue_mode,
                said.objects,
                peer,
                None,
                now,
                now,
                said.sms_number,
                said.profile_ids,
                said.parameters,
            )
            for registration_id, endpoint_name, said, peer in zip(
                ids, endpoint_names, requests, peers, strict=True
            )
        ]
        by_id.update(zip(ids, made, strict=True))
        self._id_of_endpoint.update(zip(endpoint_names, ids, strict=True))
        for lifetime_s, its_ids in _by_lifetime(made).items():
            self._wheel.add_all(its_ids, now + lifetime_s if lifetime_s else math.inf)
        return made

    def _replace(
        self, previous: Registration, identity: str | None, now: float
    ) -> RegistrationEnded:
        expired = previous.expires_at <= now
        if previous.identity is not None and identity is None and not expired:
            raise RegistrationRefused(
                codes.FORBIDDEN, "registered_with_security", "this client has credentials: use them"
            )
        self._move(previous, ServerEvent.LIFETIME_ELAPSED if expired else ServerEvent.REPLACED)
        return RegistrationEnded(previous, "expired" if expired else "replaced")

    def restore(self, registration: Registration) -> None:
        """Hold a registration that was made before, as when a server starts again.

        Raises `IllegalTransition` when its id is there already.
        """
        registration_id = registration.registration_id
        self._move(registration, _REGISTER_ACCEPTED)
        self._by_id[registration_id] = registration
        self._id_of_endpoint[registration.endpoint_name] = registration_id
        self._wheel.add(registration_id, registration.expires_at)

    def update(
        self,
        registration_id: str,
        request: UpdateRequest,
        peer: Hashable,
        identity: str | None,
        now: float,
    ) -> RegistrationUpdated:
        """Renew a registration and take over what the Update says.

        Raises `UnknownRegistration` (4.04): no such id, expired, or somebody else's (see `find`).
        """
        return self.renew(self.find(registration_id, peer, identity, now), request, peer, now)

    def renew(
        self, before: Registration, request: UpdateRequest, peer: Hashable, now: float
    ) -> RegistrationUpdated:
        """`update` of a registration that `find` has just given."""
        if request is NO_CHANGE and peer == before.peer:
            return RegistrationUpdated(self.renew_unchanged(before, now), before)
        registration_id = before.registration_id
        self._move(before, _UPDATE_RECEIVED)
        after = _updated(before, request, peer, now)
        self._by_id[registration_id] = after
        self._wheel.remove(registration_id, before.expires_at)
        self._wheel.add(registration_id, after.expires_at)
        return RegistrationUpdated(after, before)

    def renew_unchanged(self, before: Registration, now: float) -> Registration:
        """`renew` by an Update that says nothing, and comes from where the device was."""
        registration_id, lifetime_s = before.registration_id, before.lifetime_s
        # What is registered, as what `find` gives is, stays so: nothing to look up in the table.
        self._by_id[registration_id] = after = replace(before, renewed_at=now)
        if lifetime_s:
            self._wheel.move(registration_id, before.renewed_at + lifetime_s, now + lifetime_s)
        return after

    def deregister(
        self, registration_id: str, peer: Hashable, identity: str | None, now: float
    ) -> RegistrationEnded:
        """End a registration at its client's wish. Raises `UnknownRegistration` as `update`."""
        registration = self.find(registration_id, peer, identity, now)
        self._move(registration, ServerEvent.DEREGISTER_RECEIVED)
        return RegistrationEnded(registration, "client")

    def find(
        self, registration_id: str, peer: Hashable, identity: str | None, now: float
    ) -> Registration:
        """The living registration that this peer may change. Raises `UnknownRegistration`.

        A proven identity may come from a new address; without one the address has to be the same,
        or anybody who learned the id could change the registration.
        """
        found = self.living(registration_id, peer, identity, now)
        if found is None:
            raise _unknown(registration_id)
        return found

    def living(
        self, registration_id: str, peer: Hashable, identity: str | None, now: float
    ) -> Registration | None:
        """What `find` gives, or None."""
        found = self._by_id.get(registration_id)
        if found is None or found.identity != identity:
            return None
        if identity is None and found.peer != peer:
            return None
        lifetime_s = found.lifetime_s
        return found if not lifetime_s or now < found.renewed_at + lifetime_s else None

    def expire_registrations(self, now: float, count_max: int = 1_000) -> list[RegistrationEnded]:
        """End what has not been renewed in time, earliest first, at most `count_max` at once."""
        ended: list[RegistrationEnded] = []
        while len(ended) < count_max:
            due, registration_id = self._wheel.take_due(now)
            if registration_id is None:
                break
            registration = self._by_id.get(registration_id)
            # One that was renewed, or left, in the second of its end.
            if registration is not None and registration.expires_at == due:
                self._move(registration, ServerEvent.LIFETIME_ELAPSED)
                ended.append(RegistrationEnded(registration, "expired"))
        return ended

    def next_timer(self) -> float | None:
        """When to call `expire_registrations` next; it may find that nothing has expired."""
        return self._wheel.next_timer()

    def _move(self, registration: Registration, event: ServerEvent) -> None:
        registration_id = registration.registration_id
        is_held = registration_id in self._by_id
        target = (_ON_REGISTERED if is_held else _ON_ABSENT)[event]
        if target is None:
            state = ServerState.REGISTERED if is_held else ServerState.ABSENT
            raise IllegalTransition(state, event)
        if target is _ABSENT:
            self._wheel.remove(registration_id, registration.expires_at)
            del self._by_id[registration_id]
            del self._id_of_endpoint[registration.endpoint_name]


def _by_lifetime(registrations: Sequence[Registration]) -> dict[int, list[str]]:
    """Registration ids by lifetime, in s."""
    found: dict[int, list[str]] = {}
    for registration in registrations:
        ids = found.get(registration.lifetime_s)
        if ids is None:
            ids = found[registration.lifetime_s] = []
        ids.append(registration.registration_id)
    return found


def _updated(
    before: Registration, request: UpdateRequest, peer: Hashable, now: float
) -> Registration:
    return Registration(
        before.registration_id,
        before.endpoint_name,
        before.lifetime_s if request.lifetime_s is None else request.lifetime_s,
        before.lwm2m_version,
        before.binding if request.binding is None else request.binding,
        before.queue_mode if request.queue_mode is None else request.queue_mode,
        before.objects if request.objects is None else request.objects,
        peer,
        before.identity,
        before.registered_at,
        now,
        before.sms_number if request.sms_number is None else request.sms_number,
        before.profile_ids if request.profile_ids is None else request.profile_ids,
        request.parameters or before.parameters,
    )


def _unknown(registration_id: str) -> UnknownRegistration:
    return UnknownRegistration(
        codes.NOT_FOUND, "unknown_registration", f"no registration {registration_id[:40]!r}"
    )
