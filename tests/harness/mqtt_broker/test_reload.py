"""A broker that runs is told that certificates have changed: who was revoked is ended and refused,
and authorities follow one another without a restart."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.mqtt_broker.mosquitto import count_revoked, find_mosquitto
from mqtt.packets import Publish
from runtime.component import ConfigError
from tests.harness.mqtt_broker.installed import KeyFiles, Proof
from tests.harness.mqtt_broker.world import (
    Authority,
    BrokerProcess,
    Closed,
    Peer,
    Target,
    broker_process,
)

ENDS_THE_CONNECTED = [
    "embedded",
    pytest.param("amqtt", marks=[pytest.mark.amqtt, pytest.mark.slow]),
]
ALL = [
    *ENDS_THE_CONNECTED,
    pytest.param(
        "mosquitto",
        marks=[
            pytest.mark.mosquitto,
            pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto on this machine"),
        ],
    ),
]


@contextlib.contextmanager
def running(
    keys: KeyFiles, pki: Authority, folder: Path, kind: str = "embedded", **config: Any
) -> Iterator[BrokerProcess]:
    with broker_process(pki, folder / "b", kind, **keys.broker_config(), **config) as broker:
        yield broker


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path / "pki")


def connected(broker: BrokerProcess, proof: Proof, identity: str) -> Peer:
    peer = Peer(broker.address, proof.context)
    connack = peer.connect(identity)
    assert connack is not None
    assert connack.return_code == 0
    return peer


def is_refused(broker: BrokerProcess, proof: Proof, identity: str) -> bool:
    try:
        with Peer(broker.address, proof.context) as peer:
            connack = peer.connect(identity)
    except (OSError, Closed):  # TLS's errors are some
        return True
    return connack is None or connack.return_code != 0


def reloaded(broker: BrokerProcess) -> dict[str, int]:
    broker.tell(reload=True)
    found: dict[str, int] = broker.line()["reloaded"]
    return found


@pytest.mark.parametrize("kind", ENDS_THE_CONNECTED)
def test_who_is_revoked_is_ended_and_refused_and_nobody_else(
    keys: KeyFiles, pki: Authority, tmp_path: Path, kind: str
) -> None:
    bad, good = keys.issue("lamp-1"), keys.issue("lamp-2")
    with (
        running(keys, pki, tmp_path, kind) as broker,
        connected(broker, bad, "lamp-1") as thief,
        connected(broker, good, "lamp-2") as lamp,
    ):
        keys.revoke(bad)
        assert reloaded(broker) == {"anchors": 1, "revoked": 1, "ended": 1}
        assert thief.is_closed()
        assert is_refused(broker, bad, "lamp-1")
        assert lamp.is_served()
        with connected(broker, keys.issue("lamp-1"), "lamp-1") as renewed:
            assert renewed.is_served()


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto on this machine")
def test_mosquitto_refuses_who_is_revoked_and_leaves_the_connected(
    keys: KeyFiles, pki: Authority, tmp_path: Path
) -> None:
    bad = keys.issue("lamp-1")
    with (
        running(keys, pki, tmp_path, "mosquitto") as broker,
        connected(broker, bad, "lamp-1") as thief,
        connected(broker, keys.issue("lamp-2"), "lamp-2") as lamp,
    ):
        keys.revoke(bad)
        assert reloaded(broker) == {"anchors": 1, "revoked": 1, "ended": 0}
        # It says nothing when it has done it: what it answers next comes after.
        assert lamp.is_served()
        assert is_refused(broker, bad, "lamp-1")
        assert thief.is_served()


def test_a_resumed_session_gets_nobody_in(keys: KeyFiles, pki: Authority, tmp_path: Path) -> None:
    bad = keys.issue("lamp-1")
    with running(keys, pki, tmp_path) as broker:
        with connected(broker, bad, "lamp-1") as first:
            session = first.socket.session
        with Peer(broker.address, bad.context, session=session) as resumed:
            assert resumed.socket.session_reused
        keys.revoke(bad)
        reloaded(broker)
        with Peer(broker.address, bad.context, session=session) as again:
            assert again.socket.session_reused
            connack = again.connect("lamp-1")
            assert connack is None or connack.return_code == 5
        # With other anchors nobody resumes what was verified by those of before.
        keys.step("begin")
        reloaded(broker)
        with Peer(broker.address, bad.context, session=session) as again:
            assert not again.socket.session_reused


def test_a_connection_that_waits_for_its_turn_is_judged_by_the_newer_list(
    keys: KeyFiles, pki: Authority, tmp_path: Path
) -> None:
    bad = keys.issue("lamp-1")
    with running(keys, pki, tmp_path) as broker, Peer(broker.address, bad.context) as early:
        keys.revoke(bad)
        assert reloaded(broker)["ended"] == 0
        connack = None
        with contextlib.suppress(Closed):
            connack = early.connect("lamp-1")
        assert connack is None


def test_the_authority_is_rolled_over_while_devices_stay_connected(
    keys: KeyFiles, pki: Authority, tmp_path: Path
) -> None:
    of_old = keys.issue("lamp-1")
    with running(keys, pki, tmp_path) as broker, connected(broker, of_old, "lamp-1") as lamp:
        keys.step("begin")
        assert reloaded(broker)["anchors"] == 2
        keys.step("switch")
        assert reloaded(broker)["anchors"] == 2
        assert lamp.is_served()
        # The broker's own certificate is of the new authority: who trusts the old one takes it.
        with connected(broker, keys.issue("lamp-2"), "lamp-2") as renewed:
            with connected(broker, of_old, "lamp-1") as again:
                assert again.is_served()
                keys.step("finish")
                assert reloaded(broker) == {"anchors": 1, "revoked": 0, "ended": 1}
                assert again.is_closed()
            assert is_refused(broker, of_old, "lamp-1")
            assert renewed.is_served()


@pytest.mark.parametrize("broken", ["revoked_file", "ca_file", "certificate_file"])
def test_files_that_cannot_be_read_change_nothing(
    keys: KeyFiles, pki: Authority, tmp_path: Path, broken: str
) -> None:
    bad = keys.issue("lamp-1")
    keys.revoke(bad)
    with running(keys, pki, tmp_path) as broker:
        path = Path(keys.broker_config()[broken])
        kept = path.read_bytes()
        path.write_bytes(b"{")
        broker.tell(reload=True)
        assert str(path) in broker.line()["reload_failed"]
        path.unlink()
        broker.tell(reload=True)
        assert str(path) in broker.line()["reload_failed"]
        assert is_refused(broker, bad, "lamp-1")
        with connected(broker, keys.issue("lamp-2"), "lamp-2") as lamp:
            assert lamp.is_served()
        path.write_bytes(kept)
        assert reloaded(broker)["revoked"] == 1


@pytest.mark.parametrize("kind", ALL)
def test_the_hangup_signal_reloads_too(
    keys: KeyFiles, pki: Authority, tmp_path: Path, kind: str
) -> None:
    bad = keys.issue("lamp-1")
    with running(keys, pki, tmp_path, kind) as broker:
        keys.revoke(bad)
        os.kill(broker.pid, signal.SIGHUP)
        assert broker.line()["reloaded"]["revoked"] == 1
        with connected(broker, keys.issue("lamp-2"), "lamp-2") as lamp:
            assert lamp.is_served()
        assert is_refused(broker, bad, "lamp-1")


def test_a_broker_without_its_list_does_not_start(
    keys: KeyFiles, pki: Authority, tmp_path: Path
) -> None:
    (keys.folder / "revoked.json").unlink()
    with (
        pytest.raises(AssertionError, match=r"cannot read the list of revoked certificates"),
        running(keys, pki, tmp_path),
    ):
        pass


def test_why_it_was_ended_and_refused_is_in_the_journal(
    keys: KeyFiles, pki: Authority, tmp_path: Path
) -> None:
    bad, journal = keys.issue("lamp-1"), tmp_path / "broker.jsonl"
    with (
        running(keys, pki, tmp_path, journal_file=str(journal)) as broker,
        connected(broker, bad, "lamp-1"),
    ):
        keys.revoke(bad)
        reloaded(broker)
        assert is_refused(broker, bad, "lamp-1")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(one["event"], one.get("reason", "")) for one in records] == [
        ("connected", ""),
        ("disconnected", "certificate revoked"),
        ("refused", "certificate revoked"),
    ]


def test_what_it_sent_before_is_kept(keys: KeyFiles, pki: Authority, tmp_path: Path) -> None:
    bad, reading = keys.issue("lamp-1"), keys.issue("svc:ingestion")
    with (
        running(keys, pki, tmp_path) as broker,
        connected(broker, reading, "svc:ingestion") as reader,
        connected(broker, bad, "lamp-1") as thief,
    ):
        reader.subscribe("devices/+/state")
        thief.publish("devices/lamp-1/state", b"before")
        keys.revoke(bad)
        reloaded(broker)
        with contextlib.suppress(Closed, ssl.SSLError):
            thief.send(Publish("devices/lamp-1/state", b"after", 1, 2))
        assert reader.message().payload == b"before"
        assert reader.is_served()


def test_the_crls_of_a_file_are_counted_together(keys: KeyFiles, tmp_path: Path) -> None:
    keys.step("begin")
    keys.revoke(keys.issue("lamp-1"), keys.issue("lamp-2"))
    assert count_revoked(keys.folder / "crl.pem") == 2
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(b"-----BEGIN X509 CRL-----\nno\n-----END X509 CRL-----\n")
    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        count_revoked(wrong)
    with pytest.raises(ConfigError, match="No such file"):
        count_revoked(tmp_path / "none.pem")


def test_a_broker_that_was_given_no_list_has_nothing_revoked(
    pki: Authority, tmp_path: Path
) -> None:
    with broker_process(pki, tmp_path) as broker:
        assert reloaded(broker) == {"anchors": 1, "revoked": 0, "ended": 0}
        with Target("embedded", broker, pki).client("lamp-1") as lamp:
            assert lamp.is_served()
