"""How a registration is told: the frames of its beginning, renewal and end, which a whole fleet
makes at once.

What the devices of a model have in common is encoded once (`middle_of`); a frame is put together of
it and of what is the device's own. A test holds that against the encoder, byte for byte.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.data_interface import (
    VERSION,
    DeregistrationReason,
    RegistrationEvent,
    Security,
    encode,
)
from harness.lwm2m_server.devices import Device, peer_text

RegistrationKind = Literal["registered", "updated"]

# How a frame goes on after the address, and ends.
_NOSEC_BEHIND = f'","security":{encode(Security("nosec")).decode()},"registered_at_us":'
_END = f'}},"v":{VERSION}}}'


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

    def encode(self, kind: RegistrationKind, seq: int, device: Device, at_us: int) -> bytes:
        """The frame of event `seq`, that `device` registered or updated at `at_us`."""
        middle = device.told_middle
        if middle is None:
            return self._encode_plainly(kind, seq, device, at_us)
        held = device.held
        endpoint, registration_id, peer = held.endpoint_name, held.registration_id, held.peer
        security = device.security
        if type(peer) is tuple and security.mode == "nosec" and ":" not in peer[0]:
            # What a socket over IPv4 hands out, a registration each.
            behind = f'"address":"{peer[0]}:{peer[1]}{_NOSEC_BEHIND}'
        else:
            proven = encode(security).decode()
            behind = f'"address":"{peer_text(peer)}","security":{proven},"registered_at_us":'
        return (
            f'{self._head}{seq}{self._kinds[kind]}{endpoint}","at_us":{at_us},'
            f'"registration_id":"{registration_id}","registration":{{'
            f'"registration_id":"{registration_id}","endpoint":"{endpoint}",{middle},'
            f"{behind}{device.registered_at_us}{_END}"
        ).encode()

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
