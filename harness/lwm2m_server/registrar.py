"""The registration interface: requests on `/rd` answered, and told as events (LwM2M Core §6.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Final

import msgspec

from contracts.data_interface import DeregistrationReason, ObjectLink, Registration, Security
from contracts.names import is_endpoint_name
from harness.lwm2m_server.answers import NO_DEVICE, Answer, refusal
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Device, parse_address, peer_text
from harness.lwm2m_server.profiles import Profiles
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.writer import TurnWriter
from lwm2m import registration as rd
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import DecodedPayloads, Link, LinkFormatLimits, content_formats, link_format
from lwm2m.errors import LwM2mError, RegistrationRefused
from lwm2m.transport.peers import SecurePeer

ROOT: Final = "rd"
# What a datagram that came without security proves: nothing.
NOSEC: Final = Security("nosec")
_LISTS_CACHED: Final = 4_096
# What the reader calls it, and what it is counted as.
_COUNTED_AS: Final = {"foreign_endpoint_name": "identity_mismatch"}

_CHANGED = Response(codes.CHANGED)
_DELETED = Response(codes.DELETED)


class Registrar:
    """The registrations of one server, by endpoint name, with what is told of them.

    `on_left(device, successor)` and `on_moved(device, from_peer)` are called after the events.
    """

    def __init__(
        self,
        writer: TurnWriter,
        limits: ServerLimits,
        draw: Callable[[int], bytes],
        *,
        policy: rd.RegistrationPolicy | None = None,
        profiles: Mapping[str, str] | None = None,
    ) -> None:
        bounds = LinkFormatLimits(payload_bytes_max=limits.registration_bytes_max)
        self._bounds = bounds
        self._writer = writer
        self._profiles = Profiles(profiles or {})
        self._reader = rd.RegistrationReader(
            msgspec.structs.replace(policy or rd.RegistrationPolicy(), object_list=bounds),
            DecodedPayloads(lambda data: rd.read_objects(data, bounds), _LISTS_CACHED).get,
        )
        self._link_json = DecodedPayloads(self._encode_links, _LISTS_CACHED)
        self._table = rd.RegistrationTable(lambda: draw(6).hex(), limits.registrations_max)
        self._devices: dict[str, Device] = {}
        # Whose datagrams come from a plain address; a session names its endpoint by itself.
        self._by_address: dict[Hashable, str] = {}
        # Endpoints with an OSCORE context: none of them comes in unprotected.
        self.protected: Collection[str] = ()
        # Endpoints with a key that they could use: likewise.
        self.has_key: Callable[[str], bool] = lambda endpoint: False
        # Where such an endpoint is after a restart, by its name and address.
        self.protected_peer: Callable[[str, Hashable], Hashable | None] = lambda name, address: None
        self.on_left: Callable[[Device, Device | None], None] = lambda device, successor: None
        self.on_moved: Callable[[Device, Hashable | None], None] = lambda device, before: None

    def __len__(self) -> int:
        return len(self._devices)

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""
        return self._devices.get(endpoint)

    def find_by_peer(self, peer: Hashable) -> Device | None:
        """The device that this peer is, by its address or by what its session proved."""
        if not isinstance(peer, SecurePeer):
            return self._devices.get(self._by_address.get(peer, ""))
        device = self._devices.get(peer.endpoint_name or self._by_address.get(peer, ""))
        if device is None or device.registration.security != _security(peer):
            return None
        return device

    def registrations(self) -> list[Registration]:
        """All registrations, as the data interface tells them."""
        return [device.registration for device in self._devices.values()]

    def devices(self) -> list[Device]:
        """All devices, in the order in which they registered."""
        return list(self._devices.values())

    def handle(self, request: Request, peer: Hashable, now: float) -> Answer:
        """Answer a request of a device. Never raises."""
        try:
            return self._handle(request, peer, now)
        except RegistrationRefused as error:
            reason = _COUNTED_AS.get(error.reason, error.reason)
            self._writer.refuse(reason, peer_text(peer))
            return refusal(error.code, error.detail)

    def move(self, device: Device, peer: Hashable) -> None:
        """Requests to the device go to `peer` from now on; told only when it is another."""
        before = device.peer
        if before is peer or before == peer:
            return
        self._forget_address(device)
        device.peer = peer
        self._note_address(device)
        self.on_moved(device, before)

    def lose_peer(self, device: Device) -> None:
        """The device's session is gone: it cannot be asked until it has another."""
        self._forget_address(device)
        device.peer = None

    def next_timer(self) -> float | None:
        """When `expire` has something to look at."""
        return self._table.next_timer()

    def expire(self, now: float) -> None:
        """End the registrations whose lifetime has passed."""
        for ended in self._table.expire_registrations(now):
            self._leave(ended, None)

    def restore(self, state: ServerState) -> None:
        """Hold again what an earlier incarnation held; lifetimes have gone on meanwhile."""
        now, now_us = self._writer.now(), self._writer.clock.wall_us()
        lists: DecodedPayloads[rd.RegisteredObjects] = DecodedPayloads(_objects_of_json)
        for registration, renewed_at_us in state.registrations.values():
            links = msgspec.Raw(_encoder.encode(registration.object_links))
            held = msgspec.structs.replace(registration, object_links=links)
            objects = lists.get(bytes(links))
            peer = self._peer_of(held)
            renewed_at = now - (now_us - renewed_at_us) / 1e6
            registered_at = now - (now_us - held.registered_at_us) / 1e6
            self._table.restore(
                rd.Registration(
                    held.registration_id,
                    held.endpoint,
                    held.lifetime_s,
                    held.lwm2m_version,
                    held.binding,
                    held.queue_mode,
                    objects,
                    peer,
                    held.security.identity,
                    registered_at,
                    renewed_at,
                )
            )
            device = Device(held, objects, peer, renewed_at_us)
            self._devices[held.endpoint] = device
            self._note_address(device)

    def checkpoint(self, state: ServerState) -> None:
        """Put the registrations into the state that a compaction writes."""
        for endpoint, device in self._devices.items():
            state.registrations[endpoint] = (device.registration, device.renewed_at_us)

    # ---- inside ----

    def _peer_of(self, held: Registration) -> Hashable | None:
        """Where a device of an earlier incarnation can be asked; None until it comes again."""
        if held.security.mode == "oscore":
            peer = self.protected_peer(held.endpoint, parse_address(held.address))
            return peer if peer is not None and _security(peer) == held.security else None
        # A session or connection ended with the process that held it; an address is still one.
        is_address = held.security.mode == "nosec" and "U" in held.binding
        return parse_address(held.address) if is_address else None

    def _handle(self, request: Request, peer: Hashable, now: float) -> Answer:
        path, code = request.path, request.code
        if not path or path[0] != ROOT or len(path) > 2:
            raise RegistrationRefused(codes.NOT_FOUND, "unexpected_path", "only /rd is served")
        if len(path) == 1 and code == codes.POST:
            return self._register(request, peer, now)
        if len(path) == 2 and code == codes.POST:
            return self._update(request, peer, now)
        if len(path) == 2 and code == codes.DELETE:
            return self._deregister(path[1], peer, now)
        raise RegistrationRefused(
            codes.METHOD_NOT_ALLOWED, "unexpected_method", "POST /rd, POST or DELETE /rd/{id}"
        )

    def _register(self, request: Request, peer: Hashable, now: float) -> Answer:
        security, proven = _security(peer), _proven_endpoint_name(peer)
        if proven is None and security.mode == "x509":
            raise RegistrationRefused(
                codes.BAD_REQUEST, "certificate_without_name", "it names no endpoint"
            )
        found = self._reader.read_register(
            request.query, request.payload, request.content_format, proven
        )
        payload = request.payload
        if found.profile_ids:
            payload = self._profiles.merged(found.profile_ids, payload)
            objects = self._reader.read_update(
                (), payload, content_formats.LINK_FORMAT, found.lwm2m_version
            ).objects
            if objects is not None:
                found = msgspec.structs.replace(found, objects=objects)
        endpoint = found.endpoint_name
        self._check_protected(endpoint, security, codes.FORBIDDEN)
        if not is_endpoint_name(endpoint):
            raise RegistrationRefused(
                codes.BAD_REQUEST, "illegal_endpoint_name", "the name is the platform's own"
            )
        previous = self._devices.get(endpoint)
        made = self._table.register(found, peer, security.identity, now)
        now_us = self._writer.clock.wall_us()
        links = self._links(payload)
        registration = _told(made.registration, peer, security, now_us, links)
        device = Device(registration, found.objects, peer, now_us)
        if made.ended is not None and previous is not None:
            self._emit_left(previous.registration, made.ended.reason)
            self._forget_address(previous)
        self._devices[endpoint] = device
        self._note_address(device)
        registration_id = registration.registration_id
        self._writer.emit(
            "registered", endpoint, registration_id=registration_id, registration=registration
        )
        if previous is not None:
            self.on_left(previous, device)
        return Answer(Response(codes.CREATED, location_path=(ROOT, registration_id)), device)

    def _update(self, request: Request, peer: Hashable, now: float) -> Answer:
        registration_id = request.path[1]
        security = _security(peer)
        held = self._table.find(registration_id, peer, security.identity, now)
        # 4.04 has the device register anew, and that says why it may not.
        self._check_protected(held.endpoint_name, security, codes.NOT_FOUND)
        found = self._reader.read_update(
            request.query, request.payload, request.content_format, held.lwm2m_version
        )
        made = self._table.update(registration_id, found, peer, security.identity, now)
        device = self._devices[held.endpoint_name]
        before = device.registration
        links = before.object_links
        if request.payload:
            links = self._links(request.payload)
            device.objects = made.registration.objects
        device.renewed_at_us = self._writer.clock.wall_us()
        device.registration = _told(
            made.registration, peer, security, before.registered_at_us, links
        )
        self._writer.emit(
            "updated",
            held.endpoint_name,
            registration_id=registration_id,
            registration=device.registration,
        )
        self.move(device, peer)
        return Answer(_CHANGED, device)

    def _check_protected(self, endpoint: str, security: Security, code: int) -> None:
        if security.mode != "nosec":
            return
        if self.protected and endpoint in self.protected:
            raise RegistrationRefused(code, "unprotected", "this endpoint has an OSCORE context")
        if self.has_key(endpoint):
            raise RegistrationRefused(code, "keyed_without_security", "this client has a key")

    def _deregister(self, registration_id: str, peer: Hashable, now: float) -> Answer:
        identity = _security(peer).identity
        self._leave(self._table.deregister(registration_id, peer, identity, now), None)
        return Answer(_DELETED, NO_DEVICE)

    def _leave(self, ended: rd.RegistrationEnded, successor: Device | None) -> None:
        device = self._devices.pop(ended.registration.endpoint_name)
        self._forget_address(device)
        self._emit_left(device.registration, ended.reason)
        self.on_left(device, successor)

    def _emit_left(self, registration: Registration, reason: DeregistrationReason) -> None:
        self._writer.emit(
            "deregistered",
            registration.endpoint,
            registration_id=registration.registration_id,
            reason=reason,
        )

    def _note_address(self, device: Device) -> None:
        peer = device.peer
        if peer is not None and _proven_endpoint_name(peer) is None:
            self._by_address[peer] = device.registration.endpoint

    def _forget_address(self, device: Device) -> None:
        if self._by_address.get(device.peer) == device.registration.endpoint:
            del self._by_address[device.peer]

    def _links(self, payload: bytes) -> msgspec.Raw:
        return self._link_json.get(payload)

    def _encode_links(self, payload: bytes) -> msgspec.Raw:
        links = link_format.decode(payload, self._bounds)
        told = [ObjectLink(link.target, link.attributes) for link in links]
        return msgspec.Raw(_encoder.encode(told))


def _told(
    held: rd.Registration,
    peer: Hashable,
    security: Security,
    registered_at_us: int,
    links: msgspec.Raw | list[ObjectLink],
) -> Registration:
    return Registration(
        registration_id=held.registration_id,
        endpoint=held.endpoint_name,
        lifetime_s=held.lifetime_s,
        lwm2m_version=held.lwm2m_version,
        binding=held.binding,
        queue_mode=held.queue_mode,
        object_links=links,
        address=peer_text(peer),
        security=security,
        registered_at_us=registered_at_us,
    )


def _security(peer: Hashable) -> Security:
    if type(peer) is not tuple and isinstance(peer, SecurePeer):
        return Security(peer.security.mode, peer.security.identity)
    return NOSEC


def _proven_endpoint_name(peer: Hashable) -> str | None:
    return peer.endpoint_name if isinstance(peer, SecurePeer) else None


_encoder = msgspec.json.Encoder()
_links_decoder = msgspec.json.Decoder(list[ObjectLink])


def _objects_of_json(data: bytes) -> rd.RegisteredObjects:
    links = [Link(link.path, link.attributes) for link in _links_decoder.decode(data)]
    generous = LinkFormatLimits(payload_bytes_max=2**24, links_max=2**20)
    try:
        return rd.read_objects(link_format.encode(links), generous)
    except LwM2mError:
        return rd.read_objects(b"")  # the log is ours: only a list that no limit of then allowed
