"""How a registration is told: the frames of its beginning, renewal and end, which a whole fleet
makes at once.

What the devices of a model have in common is encoded once (`middle_of`); a frame is put together of
it and of what is the device's own. A test holds that against the encoder, byte for byte.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from contracts.data_interface import (
    VERSION,
    DeregistrationReason,
    RegistrationEvent,
    Security,
    encode,
)
from harness.lwm2m_server.devices import Device, peer_text
from lwm2m import registration as rd

RegistrationKind = Literal["registered", "updated"]

# How a frame goes on after the address, and ends.
_NOSEC_BEHIND = f'","security":{encode(Security("nosec")).decode()},"registered_at_us":'
_END = f'}},"v":{VERSION}}}'


class Shape(msgspec.Struct, frozen=True, gc=False):
    """What all Registers of a model say, with the object links as they are told, and how an event
    tells all of it. `said` may have another endpoint name, or none."""

    said: rd.RegisterRequest
    links: msgspec.Raw
    middle: str | None = None


class _Middle(msgspec.Struct):
    """The fields of a `Registration` from its endpoint name to its address, in their order."""

    lifetime_s: int
    lwm2m_version: str
    binding: str
    queue_mode: bool
    object_links: msgspec.Raw


def middle_of(
    lifetime_s: int, lwm2m_version: str, binding: str, queue_mode: bool, links: msgspec.Raw
) -> str:
    """What a device's `told_middle` is, if nothing in its name needs an escape in JSON."""
    whole = encode(_Middle(lifetime_s, lwm2m_version, binding, queue_mode, links))
    return whole[1:-1].decode()


def list_anew(device: Device, links: msgspec.Raw) -> None:
    """Note that a device has other objects now, while all else is as it was."""
    device.object_links = links
    if device.told_middle is not None:
        held = device.held
        device.told_middle = middle_of(
            held.lifetime_s, held.lwm2m_version, held.binding, held.queue_mode, links
        )


class RegistrationFrames:
    """Encodes the registration events of one epoch."""

    def __init__(self, server: str, epoch: str) -> None:
        self._server = server
        self._epoch = epoch
        names = encode(_Names(server, epoch)).decode()
        # How each frame begins, up to its number.
        self._head = f'{{"type":"event",{names[1:-1]},"seq":'
        self._kinds: dict[RegistrationKind, str] = {
            kind: f',"kind":"{kind}","endpoint":"' for kind in ("registered", "updated")
        }
        self._of_new = self._kinds["registered"]
        # What is said of a time, and how a frame without security ends that has just registered:
        # the datagrams of a turn are all of one time.
        self._at_us = -1
        self._at = self._end_of_new = ""

    def encode(self, kind: RegistrationKind, seq: int, device: Device, at_us: int) -> bytes:
        """The frame of event `seq`, that `device` registered or updated at `at_us`."""
        middle = device.told_middle
        if middle is None:
            return self._encode_plainly(kind, seq, device, at_us)
        if at_us != self._at_us:
            self._note_time(at_us)
        held = device.held
        endpoint, registration_id, peer = held.endpoint_name, held.registration_id, held.peer
        registered_at_us = device.registered_at_us
        if type(peer) is tuple and device.security.mode == "nosec" and ":" not in peer[0]:
            # What a socket over IPv4 hands out, a registration each.
            host, port = peer
            address = f"{host}:{port}"
            is_new = registered_at_us == at_us
            end = self._end_of_new if is_new else f"{_NOSEC_BEHIND}{registered_at_us}{_END}"
        else:
            address = peer_text(peer)
            proven = encode(device.security).decode()
            end = f'","security":{proven},"registered_at_us":{registered_at_us}{_END}'
        return (
            f"{self._head}{seq}{self._kinds[kind]}{endpoint}{self._at}{registration_id}"
            f'","registration":{{"registration_id":"{registration_id}","endpoint":"{endpoint}",'
            f'{middle},"address":"{address}{end}'
        ).encode()

    def encode_new(self, seq: int, held: rd.Registration, middle: str, at_us: int) -> bytes:
        """`encode` of a device that registered at `at_us`, from a host and port without security;
        `middle` is its `told_middle`."""
        if at_us != self._at_us:
            self._note_time(at_us)
        endpoint, registration_id = held.endpoint_name, held.registration_id
        peer: Any = held.peer
        host, port = peer
        if ":" in host:
            host = f"[{host}]"
        return (
            f"{self._head}{seq}{self._of_new}{endpoint}{self._at}{registration_id}"
            f'","registration":{{"registration_id":"{registration_id}","endpoint":"{endpoint}",'
            f'{middle},"address":"{host}:{port}{self._end_of_new}'
        ).encode()

    def _note_time(self, at_us: int) -> None:
        self._at_us = at_us
        self._at = f'","at_us":{at_us},"registration_id":"'
        self._end_of_new = f"{_NOSEC_BEHIND}{at_us}{_END}"

    def encode_left(
        self,
        seq: int,
        endpoint: str,
        registration_id: str,
        reason: DeregistrationReason,
        at_us: int,
    ) -> bytes:
        """The frame of event `seq`, that a registration ended: a power cut's return makes one for
        each device."""
        return encode(
            _Left(
                self._server,
                self._epoch,
                seq,
                "deregistered",
                endpoint,
                at_us,
                registration_id,
                reason,
            )
        )

    def _encode_plainly(
        self, kind: RegistrationKind, seq: int, device: Device, at_us: int
    ) -> bytes:
        registration = device.registration
        return encode(
            RegistrationEvent(
                self._server,
                self._epoch,
                seq,
                kind,
                registration.endpoint,
                at_us,
                registration.registration_id,
                registration,
            )
        )


class _Left(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="event"):
    """An `Event` of kind `deregistered`, byte for byte as `Event` encodes it."""

    server: str
    epoch: str
    seq: int
    kind: Literal["deregistered"]
    endpoint: str
    at_us: int
    registration_id: str
    reason: DeregistrationReason
    v: int = VERSION


class _Names(msgspec.Struct):
    server: str
    epoch: str
