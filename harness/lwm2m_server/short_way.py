"""The short way of what a fleet sends by the thousand: a plain Register, and an Update that changes
nothing or lists other objects, from the datagram to the event without a stop.

It takes only what is in order in every way, and answers and tells it as the general way would: a
test holds both against each other. Whatever else comes, and whatever is to be refused, goes the
general way, which alone decides what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Final, cast

import msgspec

from harness.lwm2m_server.devices import Address, Device
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.registration_frames import Shape, middle_of
from lwm2m.coap import CoapEndpoint, codes
from lwm2m.coap.plain import read_plain_request
from lwm2m.errors import RegistrationRefused
from lwm2m.registration.plain_register import HEAD_OF_POST, split_register

_CREATED: Final = codes.CREATED
_CHANGED: Final = codes.CHANGED
# An Update without query: Uri-Path twice, the second with a registration id of ours; and Content-
# Format 40 with an object list, when it has one.
_match_update = re.compile(
    HEAD_OF_POST + rb"\xb2rd\x0c([0-9a-f]{12})(?:\x11\x28\xff(.{1,2048}))?\Z", re.DOTALL
).match
# The answer to a Register up to the registration id: Location-Path twice.
_LOCATION = b"\x82rd\x0c"
# The least of all messages that are of no confirmable type: that is in their first byte.
NOT_CONFIRMABLE: Final = b"\x50"
# Fewer are sooner taken one by one: what a go costs beside them is shared by too few.
_WORTH_A_GO: Final = 12
_SHAPES_KEPT: Final = 1_024
_TAIL_BYTES_MAX: Final = 2_048


class ShortWay:
    """Takes datagrams of devices. `spoke(device, now)` is called once one has been answered, unless
    nothing `is_awaited` of any device."""

    def __init__(
        self, endpoint: CoapEndpoint, registrar: Registrar, spoke: Callable[[Device, float], None]
    ) -> None:
        self._registrar = registrar
        # Bound once: these are called per datagram.
        self._take_request, self._answer = endpoint.take_request, endpoint.answer_request
        self._enter, self._renew = registrar.enter_in_order, registrar.renew_in_order
        self._endpoint = endpoint
        self._enter_all, self._is_new = registrar.enter_all_new, registrar.is_new
        self._spoke = spoke
        self.is_awaited = True
        # By what follows the endpoint name: the rest of the query, and the object list.
        self._shapes: dict[bytes, Shape] = {}

    def take(self, data: bytes, peer: Hashable, now: float, now_us: int) -> bool:
        """Deal with a datagram; False when it goes the general way, for which nothing has happened.

        `now_us` is Unix time.
        """
        split = split_register(data)
        if split is None:
            return self._update(data, peer, now, now_us)
        name, tail = split
        shape = self._shapes.get(tail) or self._learn(data, tail)
        if shape is None:
            return False
        taken = self._take_request(data, peer, now)
        if taken is None:
            return True
        device = self._enter(name.decode(), shape, peer, now, now_us)
        if device is None:
            return False
        held = device.held
        self._answer(taken, data, _CREATED, _LOCATION + held.registration_id.encode())
        if self.is_awaited or held.queue_mode:
            self.is_awaited = True
            self._spoke(device, now)
        return True

    def take_newcomers(
        self, datagrams: Sequence[tuple[bytes, Hashable]], now: float, now_us: int
    ) -> int:
        """Take, at one go, what begins a list of datagrams: first Registers of peers and endpoints
        that nobody has heard of, as when a fleet arrives. Returns how many were taken.
        """
        if self.is_awaited or len(datagrams) < _WORTH_A_GO:
            return 0
        found = self._newcomers(datagrams)
        count = len(found)
        if count < _WORTH_A_GO or not self._endpoint.has_room_for(count, now):
            return 0
        shapes, peers = list(found.values()), [peer for _, peer in datagrams[:count]]
        entered = self._enter_all(list(found), shapes, cast(list[Address], peers), now, now_us)
        if entered is None:
            return 0
        locations = [_LOCATION + held.registration_id.encode() for held in entered]
        requests = [data for data, _ in datagrams[:count]]
        self._endpoint.answer_first_requests(peers, requests, _CREATED, locations, now)
        return count

    def _newcomers(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> dict[str, Shape]:
        """The endpoint names of those who come first, and what they say."""
        found: dict[str, Shape] = {}
        heard: set[Hashable] = set()
        knows, is_new, known = self._endpoint.knows, self._is_new, self._shapes.get
        for data, peer in datagrams:
            parts = split_register(data)
            if parts is None:
                break
            name, tail = parts
            shape = known(tail)
            endpoint = name.decode()
            if (
                shape is None
                or shape.said.queue_mode
                or type(peer) is not tuple
                or peer in heard
                or knows(peer)
                or endpoint in found
                or not is_new(endpoint)
            ):
                break
            heard.add(peer)
            found[endpoint] = shape
        return found

    def _update(self, data: bytes, peer: Hashable, now: float, now_us: int) -> bool:
        found = _match_update(data)
        if found is None:
            return False
        taken = self._take_request(data, peer, now)
        if taken is None:
            return True
        device = self._renew(found[1].decode(), found[2] or b"", peer, now, now_us)
        if device is None:
            return False
        self._answer(taken, data, _CHANGED, b"")
        if self.is_awaited or device.held.queue_mode:
            self.is_awaited = True
            self._spoke(device, now)
        return True

    def _learn(self, data: bytes, tail: bytes) -> Shape | None:
        """The shape of a Register, which is kept by its `tail`; None when it has none."""
        read = read_plain_request(data) if len(tail) <= _TAIL_BYTES_MAX else None
        if read is None:
            return None
        try:
            said, links = self._registrar.read_register(read[2], None)
        except RegistrationRefused:
            return None
        if said.profile_ids:
            return None  # what a profile stands for may change
        middle = middle_of(
            said.lifetime_s, said.lwm2m_version, said.binding, said.queue_mode, links
        )
        shape = Shape(msgspec.structs.replace(said, endpoint_name=""), links, middle)
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[tail] = shape
        return shape


def short_way(
    endpoint: object, registrar: Registrar, spoke: Callable[[Device, float], None]
) -> ShortWay | None:
    """The short way of an endpoint of ours; None with a limit of rates, or another policy of names
    than the standard's.
    """
    if isinstance(endpoint, CoapEndpoint) and endpoint.admits_all and registrar.has_short_way:
        return ShortWay(endpoint, registrar, spoke)
    return None
