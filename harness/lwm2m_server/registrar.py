"""The registration interface: requests on `/rd` answered, and told as events (LwM2M Core §6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from contracts.data_interface import DeregistrationReason, ObjectLink, Registration, Security
from contracts.names import is_endpoint_name
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Address, Device, address_text, parse_address
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.writer import TurnWriter
from lwm2m import registration as rd
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import DecodedPayloads, Link, LinkFormatLimits, link_format
from lwm2m.errors import LwM2mError, RegistrationRefused

ROOT: Final = "rd"
# What a datagram that came without security proves: nothing. DTLS brings other values.
NOSEC: Final = Security("nosec")
_LISTS_CACHED: Final = 4_096

_CHANGED = Response(codes.CHANGED)
_DELETED = Response(codes.DELETED)


class Registrar:
    """The registrations of one server, by endpoint name, with what is told of them.

    `on_registered(endpoint)` and `on_left(device, successor)` are called after the events.
    """

    def __init__(
        self, writer: TurnWriter, limits: ServerLimits, draw: Callable[[int], bytes]
    ) -> None:
        bounds = LinkFormatLimits(payload_bytes_max=limits.registration_bytes_max)
        self._bounds = bounds
        self._writer = writer
        self._reader = rd.RegistrationReader(
            rd.RegistrationPolicy(object_list=bounds),
            DecodedPayloads(lambda data: rd.read_objects(data, bounds), _LISTS_CACHED).get,
        )
        self._link_json = DecodedPayloads(self._encode_links, _LISTS_CACHED)
        self._table = rd.RegistrationTable(lambda: draw(6).hex(), limits.registrations_max)
        self._devices: dict[str, Device] = {}
        self.on_registered: Callable[[str], None] = lambda endpoint: None
        self.on_left: Callable[[Device, Device | None], None] = lambda device, successor: None

    def __len__(self) -> int:
        return len(self._devices)

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""
        return self._devices.get(endpoint)

    def registrations(self) -> list[Registration]:
        """All registrations, as the data interface tells them."""
        return [device.registration for device in self._devices.values()]

    def handle(self, request: Request, peer: Address, now: float) -> Response:
        """Answer a request of a device. Never raises."""
        try:
            return self._handle(request, peer, now)
        except RegistrationRefused as error:
            self._writer.refuse(error.reason, address_text(peer))
            return Response(error.code, error.detail.encode(errors="replace"))

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
            peer = parse_address(held.address)
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
                    lists.get(bytes(links)),
                    peer,
                    held.security.identity,
                    registered_at,
                    renewed_at,
                )
            )
            self._devices[held.endpoint] = Device(held, peer, renewed_at_us)

    def checkpoint(self, state: ServerState) -> None:
        """Put the registrations into the state that a compaction writes."""
        for endpoint, device in self._devices.items():
            state.registrations[endpoint] = (device.registration, device.renewed_at_us)

    # ---- inside ----

    def _handle(self, request: Request, peer: Address, now: float) -> Response:
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

    def _register(self, request: Request, peer: Address, now: float) -> Response:
        found = self._reader.read_register(request.query, request.payload, request.content_format)
        endpoint = found.endpoint_name
        if not is_endpoint_name(endpoint):
            raise RegistrationRefused(
                codes.BAD_REQUEST, "illegal_endpoint_name", "the name is the platform's own"
            )
        previous = self._devices.get(endpoint)
        made = self._table.register(found, peer, NOSEC.identity, now)
        now_us = self._writer.clock.wall_us()
        registration = self._told(made.registration, peer, now_us, self._links(request.payload))
        device = Device(registration, peer, now_us)
        if made.ended is not None and previous is not None:
            self._emit_left(previous.registration, made.ended.reason)
        self._devices[endpoint] = device
        registration_id = registration.registration_id
        self._writer.emit(
            "registered", endpoint, registration_id=registration_id, registration=registration
        )
        if previous is not None:
            self.on_left(previous, device)
        self.on_registered(endpoint)
        return Response(codes.CREATED, location_path=(ROOT, registration_id))

    def _update(self, request: Request, peer: Address, now: float) -> Response:
        registration_id = request.path[1]
        held = self._table.find(registration_id, peer, NOSEC.identity, now)
        found = self._reader.read_update(
            request.query, request.payload, request.content_format, held.lwm2m_version
        )
        made = self._table.update(registration_id, found, peer, NOSEC.identity, now)
        device = self._devices[held.endpoint_name]
        before = device.registration
        links = self._links(request.payload) if request.payload else before.object_links
        device.renewed_at_us = self._writer.clock.wall_us()
        device.peer = peer
        device.registration = self._told(made.registration, peer, before.registered_at_us, links)
        self._writer.emit(
            "updated",
            held.endpoint_name,
            registration_id=registration_id,
            registration=device.registration,
        )
        return _CHANGED

    def _deregister(self, registration_id: str, peer: Address, now: float) -> Response:
        ended = self._table.deregister(registration_id, peer, NOSEC.identity, now)
        self._leave(ended, None)
        return _DELETED

    def _leave(self, ended: rd.RegistrationEnded, successor: Device | None) -> None:
        device = self._devices.pop(ended.registration.endpoint_name)
        self._emit_left(device.registration, ended.reason)
        self.on_left(device, successor)

    def _emit_left(self, registration: Registration, reason: DeregistrationReason) -> None:
        self._writer.emit(
            "deregistered",
            registration.endpoint,
            registration_id=registration.registration_id,
            reason=reason,
        )

    def _told(
        self,
        held: rd.Registration,
        peer: Address,
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
            address=address_text(peer),
            security=NOSEC,
            registered_at_us=registered_at_us,
        )

    def _links(self, payload: bytes) -> msgspec.Raw:
        return self._link_json.get(payload)

    def _encode_links(self, payload: bytes) -> msgspec.Raw:
        links = link_format.decode(payload, self._bounds)
        told = [ObjectLink(link.target, link.attributes) for link in links]
        return msgspec.Raw(_encoder.encode(told))


_encoder = msgspec.json.Encoder()
_links_decoder = msgspec.json.Decoder(list[ObjectLink])


def _objects_of_json(data: bytes) -> rd.RegisteredObjects:
    links = [Link(link.path, link.attributes) for link in _links_decoder.decode(data)]
    generous = LinkFormatLimits(payload_bytes_max=2**24, links_max=2**20)
    try:
        return rd.read_objects(link_format.encode(links), generous)
    except LwM2mError:
        return rd.read_objects(b"")  # the log is ours: only a list that no limit of then allowed
