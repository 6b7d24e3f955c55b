"""Credentials with and without a topic for the device's presence."""

from __future__ import annotations

import datetime

from city_platform.provisioning.certificates import Issued
from city_platform.provisioning.credentials import PRESENCE_INSTANCE, CredentialsPlan
from contracts.manifest import ManifestRow
from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE
from contracts.topics import Topics

ROW = ManifestRow(
    endpoint="lamp-1",
    serial="S1",
    model="street_lamp",
    tenant="harbour",
    site="pier",
    group="lamps",
    street="",
    installed_on=datetime.date(2026, 1, 1),
    psk_identity="lamp-1",
    latitude=53.5,
    longitude=9.9,
)


def plan(*, presence: bool) -> CredentialsPlan:
    return CredentialsPlan(
        broker_uri="mqtts://127.0.0.1:8883", topics=Topics(), keep_alive_s=60, presence=presence
    )


def test_the_connection_is_a_publication_of_its_own_when_presence_is_wanted() -> None:
    issued = Issued(b"certificate", b"key", 0)
    without, with_it = (
        plan(presence=wanted).document(ROW, issued, b"ca").publications for wanted in (False, True)
    )
    assert with_it[: len(without)] == without
    (found,) = with_it[len(without) :]
    assert (found.instance, found.source, found.topic, found.encoding) == (
        PRESENCE_INSTANCE, PRESENCE_SOURCE, "devices/lamp-1/presence", ENCODING_JSON,
    )  # fmt: skip
    assert (found.qos, found.retain) == (1, False)


def test_wanting_presence_renews_credentials_and_not_wanting_it_leaves_them() -> None:
    assert plan(presence=True).digest(ROW) != plan(presence=False).digest(ROW)
    assert plan(presence=False).digest(ROW) == plan(presence=False).digest(ROW)
