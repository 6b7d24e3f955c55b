"""Puts a fleet together: devices, CoAP endpoint, DTLS and the sockets beneath."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Final

from fake_devices.device import Device
from fake_devices.fleet.addresses import (
    CountingLink,
    Opened,
    Receive,
    choose_mode,
    open_own,
    open_shared,
)
from fake_devices.fleet.coap_side import FleetDriver
from fake_devices.fleet.config import FleetConfig, ServerAddress, main_server
from fake_devices.fleet.credentials import credentials_for, read_trust_anchors
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.peers import PeerBook
from fake_devices.fleet.secured_link import SecuredLink
from lwm2m.coap import CoapEndpoint, TransmissionParameters
from lwm2m.transport.dtls import Credentials
from lwm2m.transport.dtls.failures import ALERTS, alert_reason
from lwm2m.transport.peers import address_of
from lwm2m.transport.tracing import Wrap, unwrapped
from runtime.clock import Clock

# DTLS tells an alert of the other side by its name.
_ALERTS: Final = {alert_reason(number): number for number in ALERTS}
_KEY_REFUSED: Final = "the server does not take this key: compare key and identity"
_OTHER_KIND: Final = (
    "it takes no credentials of this kind: a pre-shared key where it wants a certificate, or the "
    "other way round"
)
_CERTIFICATE_REFUSED: Final = (
    "the server does not take this device's certificate: compare who signed it with whom the "
    "server trusts"
)
_SERVER_UNKNOWN: Final = "the server's certificate is not signed by a trust anchor of this device"
# What to look at, by why a handshake came to nothing.
_ADVICE: Final = {
    "alert_decrypt_error": _KEY_REFUSED,
    "alert_bad_record_mac": _KEY_REFUSED,
    "alert_unknown_psk_identity": "the server does not know this identity",
    "alert_handshake_failure": _OTHER_KIND,
    "alert_insufficient_security": _OTHER_KIND,
    "alert_illegal_parameter": _OTHER_KIND,
    "no_shared_suite": _OTHER_KIND,
    "alert_unknown_ca": _CERTIFICATE_REFUSED,
    "alert_bad_certificate": _CERTIFICATE_REFUSED,
    "alert_certificate_unknown": _CERTIFICATE_REFUSED,
    "alert_access_denied": _CERTIFICATE_REFUSED,
    "alert_certificate_expired": "the server says that this device's certificate has expired",
    "certificate_unknown_authority": _SERVER_UNKNOWN,
    "certificate_bad_signature": _SERVER_UNKNOWN,
    "certificate_wrong_name": "the server's certificate names another host or address",
    "certificate_expired": "the server's certificate has expired",
    "certificate_not_pinned": "the server's certificate is not the one that bootstrap wrote",
    "no_credentials": "a certificate needs its key, and trust anchors to know the server by",
    "timeout": "nothing answered the handshake",
}
_log = logging.getLogger(__name__)

MakeDevices = Callable[[Sequence[Hashable]], Sequence[Device]]
"""The devices, for peers of which some tell a device's own address."""


@contextlib.asynccontextmanager
async def assembled(
    config: FleetConfig, clock: Clock, count: int, make: MakeDevices, *, wrap: Wrap = unwrapped
) -> AsyncIterator[tuple[Fleet, CountingLink]]:
    """A fleet of `count` devices, with its sockets open while the block runs.

    `wrap` may put a trace between the endpoint and its link. Raises `ConfigError`, `OSError`.
    """
    server = main_server(config)
    endpoint = CoapEndpoint(
        TransmissionParameters(
            ack_timeout_s=config.ack_timeout_s, max_retransmit=config.max_retransmit
        ),
        random.Random(f"{config.seed}/coap/{clock.now_ns()}").randbytes,
    )
    received: list[Fleet] = []
    driver = FleetDriver(endpoint, lambda events: received[0].handle_coap_events(events))
    hears, wrap_link = wrap(_only_when_awake(driver, received))
    security = _Security(config, hears) if _may_be_secure(config) else None
    receive = hears if security is None else security.link.receive_datagrams
    opened, is_shared = await _open(config, server, count, receive)
    book = PeerBook(
        config.server or config.bootstrap_server, opened.host, opened.peers, is_shared=is_shared
    )
    if security is not None:
        security.link.attach(opened.link, book)
    beneath = opened.link if security is None else security.link
    link = CountingLink(beneath, opened.sockets, opened.peers)
    driver.attach(wrap_link(link))
    try:
        fleet = Fleet(
            make(opened.peers),
            book,
            driver,
            clock,
            in_flight_max=config.in_flight_max,
            starts_per_turn_max=config.starts_per_turn_max,
            session_lost=None if security is None else security.link.dtls.restart,
        )
        received.append(fleet)
        if security is not None:
            security.serve(fleet, book)
        yield fleet, link
    finally:
        driver.close()


def _may_be_secure(config: FleetConfig) -> bool:
    # What a bootstrap server writes may be a secure server.
    return bool(config.bootstrap_server) or config.server.startswith("coaps")


class _Security:
    """The link with DTLS, and what it asks and tells."""

    def __init__(self, config: FleetConfig, receive: Receive) -> None:
        anchors = config.trust_anchor_file
        self._anchors = () if anchors is None else read_trust_anchors(Path(anchors))
        self._fleet: Fleet | None = None
        self._book: PeerBook | None = None
        self.link = SecuredLink(receive, self._credentials_of, self._failed)

    def serve(self, fleet: Fleet, book: PeerBook) -> None:
        """Ask and tell this fleet from now on."""
        self._fleet, self._book = fleet, book

    def _credentials_of(self, peer: Hashable) -> Credentials | None:
        assert self._fleet is not None
        assert self._book is not None
        account = self._book.account_of(peer) or self._fleet.main_account(peer)
        return None if account is None else credentials_for(account, self._anchors)

    def _failed(self, peer: Hashable, reason: str) -> None:
        _log.info("no DTLS session with %s:%d: %s%s", *address_of(peer), reason, _advice(reason))
        assert self._fleet is not None
        self._fleet.security_failed(peer, _ALERTS.get(reason))


def _advice(reason: str) -> str:
    advice = _ADVICE.get(reason)
    return "" if advice is None else f" ({advice})"


def _only_when_awake(driver: FleetDriver, fleets: Sequence[Fleet]) -> Receive:
    def receive(datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        if fleets and fleets[0].may_be_deaf:
            datagrams = [each for each in datagrams if fleets[0].is_listening(each[1])]
        driver.receive_datagrams(datagrams)

    return receive


async def _open(
    config: FleetConfig, server: ServerAddress, devices: int, receive: Receive
) -> tuple[Opened, bool]:
    """The link of all devices, and whether they share it."""
    if choose_mode(config.addresses, server, devices) == "shared":
        return await open_shared(server, devices, receive, config.first_address), True
    return await open_own(server, devices, receive), False
