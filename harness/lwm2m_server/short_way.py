"""The short way of what a fleet sends by the thousand: a plain Register, and an Update that changes
nothing, from the datagram to the event without a stop.

It takes only what is in order in every way, and answers and tells it as the general way would: a
test holds both against each other. Whatever else comes, and whatever is to be refused, goes the
general way, which alone decides what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

import msgspec

from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.registration_frames import middle_of
from lwm2m import registration as rd
from lwm2m.coap import CoapEndpoint, codes
from lwm2m.coap.plain import read_plain_request
from lwm2m.errors import RegistrationRefused
from lwm2m.registration.plain_register import OPTIONS_AT, OPTIONS_AT_MAX, split_register

_CREATED: Final = codes.CREATED
# Options of an Update without query: Uri-Path twice, the second with a registration id of ours.
_UPDATE = b"\xb2rd\x0c"
_ID_BYTES = 12
# Bytes of a datagram in which everything above has its place.
_BYTES_MIN = 4 + len(_UPDATE) + _ID_BYTES
# The answer to a Register up to the registration id: Location-Path twice.
_LOCATION = b"\x82rd\x0c"
_SHAPES_KEPT: Final = 1_024
_TAIL_BYTES_MAX: Final = 2_048


class _Shape(msgspec.Struct, frozen=True, gc=False):
    """What all Registers say that end in the same bytes. `said` has no endpoint name."""

    said: rd.RegisterRequest
    links: msgspec.Raw
    middle: str


class ShortWay:
    """Takes datagrams of devices. `spoke(device, now)` is called once one has been answered."""

    def __init__(
        self, endpoint: CoapEndpoint, registrar: Registrar, spoke: Callable[[Device, float], None]
    ) -> None:
        self._registrar = registrar
        # Bound once: these are called per datagram.
        self._take_request, self._answer = endpoint.take_request, endpoint.answer_request
        self._may_register, self._enter = registrar.security_to_register, registrar.enter
        self._spoke = spoke
        # By what follows the endpoint name: the rest of the query, and the object list.
        self._shapes: dict[bytes, _Shape] = {}

    def take(self, data: bytes, peer: Hashable, now: float, now_us: int | None = None) -> bool:
        """Deal with a datagram; False, and nothing has happened, when it goes the general way.

        `now_us` is Unix time, if it is known.
        """
        if len(data) < _BYTES_MIN or data[1] != codes.POST:
            return False
        split = split_register(data)
        if split is not None:
            return self._register(data, *split, peer, now, now_us)
        at = data[0] + OPTIONS_AT
        if not 4 <= at <= OPTIONS_AT_MAX:
            return False
        if len(data) != at + len(_UPDATE) + _ID_BYTES or not data.startswith(_UPDATE, at):
            return False
        return self._update(data, at + len(_UPDATE), peer, now, now_us)

    def _register(
        self,
        data: bytes,
        name_bytes: bytes,
        tail: bytes,
        peer: Hashable,
        now: float,
        now_us: int | None,
    ) -> bool:
        shape = self._shapes.get(tail) or self._learn(data, tail)
        if shape is None:
            return False
        name = name_bytes.decode()
        security = self._may_register(name, peer)
        if security is None:
            return False
        taken = self._take_request(data, peer, now)
        if taken is not None:
            device = self._enter(
                name, shape.said, shape.links, peer, security, now, shape.middle, now_us
            )
            location = _LOCATION + device.held.registration_id.encode()
            self._answer(taken, _CREATED, location)
            self._spoke(device, now)
        return True

    def _update(self, data: bytes, at: int, peer: Hashable, now: float, now_us: int | None) -> bool:
        registrar = self._registrar
        try:
            device = registrar.find_to_renew(data[at:].decode(), peer, now)
        except UnicodeDecodeError:
            return False
        if device is None:
            return False
        taken = self._take_request(data, peer, now)
        if taken is not None:
            registrar.renew(device, rd.NO_CHANGE, peer, device.security, now, now_us)
            self._answer(taken, codes.CHANGED, b"")
            self._spoke(device, now)
        return True

    def _learn(self, data: bytes, tail: bytes) -> _Shape | None:
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
        shape = _Shape(msgspec.structs.replace(said, endpoint_name=""), links, middle)
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
