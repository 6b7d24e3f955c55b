"""How the platform's components reach the MQTT broker: configuration, and a client made from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from struct import calcsize, unpack
from typing import Final

import msgspec

from mqtt.connection import InboundMessage
from mqtt.packets import Will
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import Clock

# Draws so many random bytes; `os.urandom` live, a seeded source in the lab.
Draw = Callable[[int], bytes]


class BrokerAccess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a component of the platform reaches the MQTT broker."""

    # `host:port` of the broker's TLS listener.
    address: str
    # PEM files: the platform's CA, this component's certificate, and its key (0600).
    ca_file: str
    certificate_file: str
    key_file: str
    # Seconds between packets after which a dead connection is noticed (MQTT 3.1.1 §3.1.2.10).
    keep_alive_s: int = 60
    # Whether the broker forgets this client when it goes. False shortens what a restart costs;
    # nothing relies on it.
    clean_session: bool = False
    # QoS 1 messages sent and not acknowledged at one time.
    inflight_max: int = 1_000
    # Messages kept in memory while the broker is slow or away.
    queue_max: int = 20_000


# Big-endian, of 32 bits each.
_NUMBERS: Final = ">64I"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[::1]:port`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


def read_token(path: str) -> str:
    """The bearer token in a file of one line. Raises `OSError`."""
    return Path(path).read_text().strip()


def chance_from(draw: Draw) -> Callable[[], float]:
    """Numbers from [0, 1) out of random bytes."""
    # Of one draw come many: each is a system call, or costs as much as one.
    drawn: list[int] = []

    def chance() -> float:
        if not drawn:
            drawn.extend(unpack(_NUMBERS, draw(calcsize(_NUMBERS))))
        return drawn.pop() / 2**32

    return chance


def open_client(
    access: BrokerAccess,
    identity: str,
    clock: Clock,
    *,
    subscriptions: Iterable[str],
    on_message: Callable[[InboundMessage], None],
    on_connected: Callable[[], None] = lambda: None,
    draw: Draw = os.urandom,
    will: Will | None = None,
    gather_s: float = 0.0,
) -> MqttClient:
    """A client with the identity's certificate, every subscription at QoS 1; the caller runs it.

    `gather_s`: see `MqttClient`; for who is in no hurry.
    """
    return MqttClient(
        client_id=identity,
        address=split_address(access.address),
        # For each connection: certificates are renewed and authorities follow one another.
        tls=partial(client_tls, access.ca_file, access.certificate_file, access.key_file),
        clock=clock,
        chance=chance_from(draw),
        clean_session=access.clean_session,
        keep_alive_s=access.keep_alive_s,
        inflight_max=access.inflight_max,
        queue_max=access.queue_max,
        subscriptions=[(one, 1) for one in subscriptions],
        on_message=on_message,
        on_connected=on_connected,
        gather_s=gather_s,
        will=will,
    )
