"""Which addresses have shown that they are where they say, and how much others are sent.

RFC 9175 §2: an Echo value that comes back shows that a request is fresh and that its sender can be
reached. Nothing is kept per address for it: a value is its time, and a keyed hash over time and
address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Hashable

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Chance, Peer, PeerTable
from lwm2m.coap.requests import Request, Response, find_option

_TIME_BYTES = 6
_TAG_BYTES = 8
_KEY_BYTES = 32
_UNLIMITED_BYTES = 1 << 30


class Reachability:
    """Validated addresses and Echo values."""

    __slots__ = ("_chance", "_key", "_parameters", "_peers")

    def __init__(
        self, parameters: TransmissionParameters, peers: PeerTable, chance: Chance
    ) -> None:
        self._parameters = parameters
        self._peers = peers
        self._chance = chance
        # Drawn when the first value is made: who never needs one draws nothing.
        self._key = b""

    def is_validated(self, peer: Peer) -> bool:
        """Whether answers of any length may go to this address."""
        if not peer.is_validated:
            peer.is_validated = self._peers.was_validated(peer.address)
        return peer.is_validated

    def room_bytes(self, peer: Peer, request_bytes: int) -> int:
        """How long the datagram may be that answers a request of so many bytes."""
        factor = self._parameters.amplification_factor
        if factor == 0 or self.is_validated(peer):
            return _UNLIMITED_BYTES
        return max(self._parameters.amplification_floor_bytes, int(factor * request_bytes))

    def challenge(self, address: Hashable, now: float) -> Response:
        """4.01 with a new Echo value: who repeats the request with it is there, and now."""
        return Response(
            codes.UNAUTHORIZED, options=((opt.ECHO, self._echo_value(address, _time_of(now))),)
        )

    def echo_age_s(self, address: Hashable, request: Request, now: float) -> float | None:
        """How long ago the Echo value of a request was given out; None without one of ours."""
        value = find_option(request.options, opt.ECHO)
        if value is None or len(value) != _TIME_BYTES + _TAG_BYTES:
            return None
        given = value[:_TIME_BYTES]
        if not hmac.compare_digest(value, self._echo_value(address, given)):
            return None
        return max(0.0, now - int.from_bytes(given, "big") / 1000)

    def take_echo(self, peer: Peer, request: Request, now: float) -> None:
        """Validate the address when the request carries a value that is new enough."""
        age_s = self.echo_age_s(peer.address, request, now)
        if age_s is not None and age_s <= self._parameters.echo_lifetime_s:
            peer.is_validated = True

    def _echo_value(self, address: Hashable, given: bytes) -> bytes:
        if not self._key:
            self._key = self._chance.take(_KEY_BYTES)
        # An address is known by what it shows itself as: tuples and sessions do so in full.
        said = given + repr(address).encode()
        tag = hashlib.blake2b(said, key=self._key, digest_size=_TAG_BYTES).digest()
        return given + tag


def _time_of(now: float) -> bytes:
    # Whole milliseconds, modulo what six bytes hold: nine thousand years.
    return (int(now * 1000) & ((1 << 8 * _TIME_BYTES) - 1)).to_bytes(_TIME_BYTES, "big")
