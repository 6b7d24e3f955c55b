"""The registration interface: requests on `/rd` answered, and told as events (LwM2M Core §6.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final

import msgspec

from contracts.data_interface import DeregistrationReason, Registration, Security
from contracts.names import SERVICE_PREFIX, is_endpoint_name
from harness.lwm2m_server.answers import NO_DEVICE, Answer, refusal
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Address, Device, parse_address, peer_text
from harness.lwm2m_server.object_links import encode_links, json_of, links_of_json
from harness.lwm2m_server.profiles import Profiles
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.registrant import NOSEC, host_of, proven_endpoint_name, security_of
from harness.lwm2m_server.registration_frames import Shape, list_anew
from harness.lwm2m_server.registration_ids import registration_ids
from harness.lwm2m_server.writer import TurnWriter
from lwm2m import registration as rd
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import DecodedPayloads, LinkFormatLimits, content_formats, link_format
from lwm2m.errors import RegistrationRefused
from lwm2m.transport.peers import SecurePeer

ROOT: Final = "rd"
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
        self._emit_registration, self._emit_new = writer.emit_registration, writer.emit_new
        self._profiles = Profiles(profiles or {})
        self._reader = rd.RegistrationReader(
            msgspec.structs.replace(policy or rd.RegistrationPolicy(), object_list=bounds),
            DecodedPayloads(lambda data: rd.read_objects(data, bounds), _LISTS_CACHED).get,
        )
        # The reader has looked at every letter, unless it was told of other names.
        is_plain = policy is None or policy.endpoint_name_pattern == rd.ENDPOINT_NAME_PATTERN
        self._is_name: Callable[[str], bool] = (lambda name: True) if is_plain else is_endpoint_name
        self.has_short_way = is_plain
        self._link_json = DecodedPayloads(self._encode_links, _LISTS_CACHED)
        self._devices_max = limits.registrations_max
        self._table = rd.RegistrationTable(registration_ids(draw), limits.registrations_max)
        self._register_new = self._table.register_new
        # In the order in which they registered, in which they are listed and kept.
        self._devices: dict[str, Device] = {}
        # How many devices without security there are at each host.
        self._of_host: dict[str, int] = {}
        self._of_host_max = limits.registrations_per_peer_max
        # Whose datagrams come from a plain address; a session names its endpoint by itself.
        self._by_address: dict[Hashable, str] = {}
        # Endpoints with an OSCORE context: none of them comes in unprotected.
        self.protected: Collection[str] = ()
        # Endpoints with a key that they could use: likewise.
        self.has_key: Callable[[str], bool] | None = None
        # Where such an endpoint is after a restart, by its name and address.
        self.protected_peer: Callable[[str, Hashable], Hashable | None] = lambda name, address: None
        self.on_left: Callable[[Device, Device | None], None] = lambda device, successor: None
        self.on_moved: Callable[[Device, Hashable | None], None] = lambda device, before: None

    def __len__(self) -> int:
        return len(self._table)

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""
        return self._devices.get(endpoint)

    def find_by_peer(self, peer: Hashable) -> Device | None:
        """The device that this peer is, by its address or by what its session proved."""
        if not isinstance(peer, SecurePeer):
            return self._devices.get(self._by_address.get(peer, ""))
        known = self._by_address.get(peer, "")
        device = self._devices.get(peer.endpoint_name or known)
        if device is None or device.security != security_of(peer):
            return None
        return device

    def registrations(self) -> list[Registration]:
        """All registrations, as the data interface tells them."""
        return [device.registration for device in self.devices()]

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

    # ---- the short way, for what is in order; see `ShortWay` ----

    def read_register(
        self, request: Request, proven: str | None
    ) -> tuple[rd.RegisterRequest, msgspec.Raw]:
        """What a Register says, and its object links as they are told. Raises
        `RegistrationRefused`."""
        payload = request.payload
        found = self._reader.read_register(request.query, payload, request.content_format, proven)
        if found.profile_ids:
            found, payload = self._with_profiles(found, payload)
        return found, self._links(payload)

    def enter_in_order(
        self, endpoint: str, shape: Shape, peer: Hashable, now: float, now_us: int
    ) -> Device | None:
        """Register a device under a name that has the letters of one, and tell it; None, and
        nothing has happened, when something speaks against it. `now_us` is Unix time."""
        devices, middle = self._devices, shape.middle
        if (
            endpoint in devices
            or type(peer) is not tuple
            or middle is None
            or self.has_key is not None
            or self.protected
        ):
            security = self._security_to_register(endpoint, peer)
            if security is None:
                return None
            return self._enter(endpoint, shape, peer, security, now, now_us)
        # A fleet's first arrival: little to look at, and nobody to replace.
        of_host, host = self._of_host, peer[0]
        count = of_host.get(host, 0)
        is_full = count >= self._of_host_max or len(devices) >= self._devices_max
        if is_full or endpoint.startswith(SERVICE_PREFIX):
            return None
        held = self._register_new(shape.said, endpoint, peer, None, now)
        devices[endpoint] = device = Device(held, peer, NOSEC, shape.links, now_us, middle)
        self._by_address[peer] = endpoint
        of_host[host] = count + 1
        self._emit_new(held, middle, now_us)
        return device

    def is_new(self, endpoint: str) -> bool:
        """Whether this name may register, as far as the name goes, and replaces nobody."""
        return endpoint not in self._devices and not endpoint.startswith(SERVICE_PREFIX)

    def enter_all_new(
        self,
        endpoints: Sequence[str],
        shapes: Sequence[Shape],
        peers: Sequence[Address],
        now: float,
        now_us: int,
    ) -> list[rd.Registration] | None:
        """`enter_in_order` of many at one moment, each of whom `is_new`, and no two the same; None,
        and nothing has happened, when something speaks against one."""
        middles = [shape.middle for shape in shapes if shape.middle is not None]
        hosts = Counter([host for host, _ in peers])
        of_host = self._of_host
        if (
            self.has_key is not None
            or self.protected
            or len(middles) < len(shapes)
            or len(self._devices) + len(endpoints) > self._devices_max
            or any(of_host.get(host, 0) + n > self._of_host_max for host, n in hosts.items())
        ):
            return None
        made = self._table.register_all_new([each.said for each in shapes], endpoints, peers, now)
        links = (shape.links for shape in shapes)
        devices = map(Device, made, peers, repeat(NOSEC), links, repeat(now_us), middles)
        self._devices.update(zip(endpoints, devices, strict=True))
        self._by_address.update(zip(peers, endpoints, strict=True))
        for host, count in hosts.items():
            of_host[host] = of_host.get(host, 0) + count
        self._writer.emit_all_new(made, middles, now_us)
        return made

    def renew_in_order(
        self, registration_id: str, links: bytes, peer: Hashable, now: float, now_us: int
    ) -> Device | None:
        """Renew a registration by an Update that says nothing but its object links, if any, and
        tell it; None, and nothing has happened, when something speaks against it."""
        security = security_of(peer)
        held = self._table.living(registration_id, peer, security.identity, now)
        if held is None:
            return None
        endpoint = held.endpoint_name
        if security is NOSEC and self._is_protected(endpoint):
            return None
        device = self._devices[endpoint]
        if device.security is not security and device.security != security:
            return None
        if links:
            try:
                said = self._reader.read_update(
                    (), links, content_formats.LINK_FORMAT, held.lwm2m_version
                )
                list_anew(device, self._links(links))
            except RegistrationRefused:
                return None
            device.held = self._table.renew(held, said, peer, now).registration
        elif peer == held.peer:
            device.held = self._table.renew_unchanged(held, now)
        else:
            device.held = self._table.renew(held, rd.NO_CHANGE, peer, now).registration
        self._emit_registration("updated", device, now_us)
        if device.peer is not peer:
            self.move(device, peer)
        return device

    def _security_to_register(self, endpoint: str, peer: Hashable) -> Security | None:
        """How this peer's datagrams are protected, when nothing speaks against its registering
        under this name; None when something does."""
        previous = self._devices.get(endpoint)
        if previous is None and self._table.is_full:
            return None
        if endpoint.startswith(SERVICE_PREFIX):
            return None
        if type(peer) is tuple:
            is_open = not self._is_protected(endpoint) and self._has_room_at(peer, previous)
            if previous is not None and previous.held.identity is not None:
                return None
            return NOSEC if is_open else None
        security, proven = security_of(peer), proven_endpoint_name(peer)
        is_proven = proven == endpoint or (proven is None and security.mode != "x509")
        return security if is_proven and security is not NOSEC else None

    # ---- what both ways come to ----

    def _enter(
        self,
        endpoint: str,
        shape: Shape,
        peer: Hashable,
        security: Security,
        now: float,
        now_us: int,
    ) -> Device:
        """Register a device under this name with what else its request said, and tell it.

        Raises `RegistrationRefused` as the table does, before anything has changed.
        """
        previous = self._devices.get(endpoint)
        made = self._table.register(shape.said, peer, security.identity, now, endpoint)
        device = Device(made.registration, peer, security, shape.links, now_us, shape.middle)
        if made.ended is not None and previous is not None:
            self._emit_left(previous, made.ended.reason)
            self._unsettle(previous)
        self._devices[endpoint] = device
        self._settle(device)
        self._emit_registration("registered", device, now_us)
        if previous is not None:
            self.on_left(previous, device)
        return device

    def _renew(
        self,
        device: Device,
        found: rd.UpdateRequest,
        peer: Hashable,
        security: Security,
        now: float,
    ) -> None:
        """Renew a registration with what an Update says beside the object links, and tell it."""
        device.held = self._table.renew(device.held, found, peer, now).registration
        device.security = security
        self._emit_registration("updated", device, self._writer.clock.wall_us())
        self.move(device, peer)

    # ---- where devices are ----

    def move(self, device: Device, peer: Hashable) -> None:
        """Requests to the device go to `peer` from now on; told only when it is another."""
        before = device.peer
        if before is peer or before == peer:
            return
        self._unsettle(device)
        device.peer = peer
        self._settle(device)
        self.on_moved(device, before)

    def lose_peer(self, device: Device) -> None:
        """The device's session is gone: it cannot be asked until it has another."""
        self._unsettle(device)
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
        lists = DecodedPayloads(links_of_json, _LISTS_CACHED, payload_bytes_max=65_536)
        for told, renewed_at_us in state.registrations.values():
            links, objects = lists.get(json_of(told.object_links))
            peer = self._peer_of(told)
            held = rd.Registration(
                told.registration_id,
                told.endpoint,
                told.lifetime_s,
                told.lwm2m_version,
                told.binding,
                told.queue_mode,
                objects,
                told.address if peer is None else peer,
                told.security.identity,
                now - (now_us - told.registered_at_us) / 1e6,
                now - (now_us - renewed_at_us) / 1e6,
            )
            self._table.restore(held)
            device = Device(held, peer, told.security, links, told.registered_at_us)
            self._devices[told.endpoint] = device
            self._settle(device)

    def checkpoint(self) -> Iterator[tuple[Registration, int]]:
        """What a compaction writes of the registrations there are now; read it when you like."""
        now, now_us = self._writer.now(), self._writer.clock.wall_us()
        # A device that leaves, or is replaced, meanwhile is told as it was.
        return (
            (device.registration, now_us - round((now - device.held.renewed_at) * 1e6))
            for device in self.devices()
        )

    # ---- inside ----

    def _peer_of(self, held: Registration) -> Hashable | None:
        """Where a device of an earlier incarnation can be asked; None until it comes again."""
        if held.security.mode == "oscore":
            peer = self.protected_peer(held.endpoint, parse_address(held.address))
            return peer if peer is not None and security_of(peer) == held.security else None
        # A session or connection ended with the process that held it; an address is still one.
        is_address = held.security.mode == "nosec" and "U" in held.binding
        return parse_address(held.address) if is_address else None

    def _handle(self, request: Request, peer: Hashable, now: float) -> Answer:
        path, code = request.path, request.code
        if path and path[0] == ROOT and len(path) <= 2:
            if code == codes.POST:
                if len(path) == 1:
                    return self._register(request, peer, now)
                return self._update(request, peer, now)
            if code == codes.DELETE and len(path) == 2:
                return self._deregister(path[1], peer, now)
            raise RegistrationRefused(
                codes.METHOD_NOT_ALLOWED, "unexpected_method", "POST /rd, POST or DELETE /rd/{id}"
            )
        raise RegistrationRefused(codes.NOT_FOUND, "unexpected_path", "only /rd is served")

    def _register(self, request: Request, peer: Hashable, now: float) -> Answer:
        security, proven = security_of(peer), proven_endpoint_name(peer)
        if proven is None and security.mode == "x509":
            raise RegistrationRefused(
                codes.BAD_REQUEST, "certificate_without_name", "it names no endpoint"
            )
        found, links = self.read_register(request, proven)
        endpoint = found.endpoint_name
        if security is NOSEC:
            self._check_protected(endpoint, codes.FORBIDDEN)
        if endpoint.startswith(SERVICE_PREFIX) or not self._is_name(endpoint):
            raise RegistrationRefused(
                codes.BAD_REQUEST, "illegal_endpoint_name", "the name is the platform's own"
            )
        if security is NOSEC and not self._has_room_at(peer, self._devices.get(endpoint)):
            raise RegistrationRefused(
                codes.SERVICE_UNAVAILABLE,
                "peer_full",
                f"{self._of_host_max} registrations without security come from this address",
            )
        now_us = self._writer.clock.wall_us()
        device = self._enter(endpoint, Shape(found, links), peer, security, now, now_us)
        location = (ROOT, device.registration_id)
        return Answer(Response(codes.CREATED, location_path=location), device)

    def _with_profiles(
        self, found: rd.RegisterRequest, payload: bytes
    ) -> tuple[rd.RegisterRequest, bytes]:
        """The request with the objects of its profiles, and their object list as a payload."""
        payload = self._profiles.merged(found.profile_ids, payload)
        objects = self._reader.read_update(
            (), payload, content_formats.LINK_FORMAT, found.lwm2m_version
        ).objects
        if objects is not None:
            found = msgspec.structs.replace(found, objects=objects)
        return found, payload

    def _has_room_at(self, peer: Hashable, previous: Device | None) -> bool:
        """Whether this host has not all it may have; a device that is there takes no room."""
        host = host_of(peer)
        return self._of_host.get(host, 0) < self._of_host_max or (
            previous is not None and previous.peer is not None and host_of(previous.peer) == host
        )

    def _update(self, request: Request, peer: Hashable, now: float) -> Answer:
        security = security_of(peer)
        held = self._table.find(request.path[1], peer, security.identity, now)
        if security is NOSEC:
            # 4.04 has the device register anew, and that says why it may not.
            self._check_protected(held.endpoint_name, codes.NOT_FOUND)
        found = self._reader.read_update(
            request.query, request.payload, request.content_format, held.lwm2m_version
        )
        device = self._devices[held.endpoint_name]
        if request.payload:
            device.object_links = self._links(request.payload)
        if found is not rd.NO_CHANGE:
            device.told_middle = None
        self._renew(device, found, peer, security, now)
        return Answer(_CHANGED, device)

    def _check_protected(self, endpoint: str, code: int) -> None:
        if self.protected and endpoint in self.protected:
            raise RegistrationRefused(code, "unprotected", "this endpoint has an OSCORE context")
        if self.has_key is not None and self.has_key(endpoint):
            raise RegistrationRefused(code, "keyed_without_security", "this client has a key")

    def _is_protected(self, endpoint: str) -> bool:
        """Whether `_check_protected` raises."""
        if self.protected and endpoint in self.protected:
            return True
        return self.has_key is not None and self.has_key(endpoint)

    def _deregister(self, registration_id: str, peer: Hashable, now: float) -> Answer:
        identity = security_of(peer).identity
        self._leave(self._table.deregister(registration_id, peer, identity, now), None)
        return Answer(_DELETED, NO_DEVICE)

    def _leave(self, ended: rd.RegistrationEnded, successor: Device | None) -> None:
        endpoint = ended.registration.endpoint_name
        device = self._devices[endpoint]
        del self._devices[endpoint]
        self._unsettle(device)
        self._emit_left(device, ended.reason)
        self.on_left(device, successor)

    def _emit_left(self, device: Device, reason: DeregistrationReason) -> None:
        self._writer.emit_left(device.endpoint, device.registration_id, reason)

    def _settle(self, device: Device) -> None:
        """Note where a device has come to be."""
        peer = device.peer
        if peer is None:
            return
        if type(peer) is tuple:  # as a UDP socket hands it out
            self._by_address[peer] = device.held.endpoint_name
            of_host, host = self._of_host, peer[0]
            of_host[host] = of_host.get(host, 0) + 1
            return
        if proven_endpoint_name(peer) is None:
            self._by_address[peer] = device.held.endpoint_name
        if security_of(peer) is NOSEC:
            host = host_of(peer)
            self._of_host[host] = self._of_host.get(host, 0) + 1

    def _unsettle(self, device: Device) -> None:
        """It is no longer where it was."""
        peer = device.peer
        if peer is None:
            return
        if self._by_address.get(peer) == device.held.endpoint_name:
            del self._by_address[peer]
        if type(peer) is tuple or security_of(peer) is NOSEC:
            host = host_of(peer)
            left = self._of_host[host] - 1
            if left:
                self._of_host[host] = left
            else:
                del self._of_host[host]

    def _links(self, payload: bytes) -> msgspec.Raw:
        return self._link_json.get(payload)

    def _encode_links(self, payload: bytes) -> msgspec.Raw:
        return encode_links(link_format.decode(payload, self._bounds))
