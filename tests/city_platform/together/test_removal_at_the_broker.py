"""A device is removed while it is connected: access first, data last, and the audit stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from city_platform.provisioning.broker_notices import SignalIt
from city_platform.provisioning.key_files import pem
from contracts.api import CertificatePage, DeviceRecord, RemovedDevice
from contracts.credentials import decode_document
from runtime.http_client import HttpError
from tests.city_platform.provisioning.installation import Installation, SecurityServer, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.harness.mqtt_broker.world import Authority, BrokerProcess, Closed, Peer, broker_process

pytestmark = pytest.mark.slow
PID_FILE, JOURNAL = "broker.pid", "broker.jsonl"


def proof_of(state: Path, endpoint: str, folder: Path) -> ssl.SSLContext:
    """What the device was given, as a client shows it."""
    data = (state / "objects" / "credentials" / f"{endpoint}.json").read_bytes()
    broker = decode_document(data).broker
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem("CERTIFICATE", broker.ca_certificate).decode())
    pair = folder / f"{endpoint}.pem"
    pair.write_bytes(pem("CERTIFICATE", broker.certificate) + pem("PRIVATE KEY", broker.secret_key))
    context.load_cert_chain(pair)
    return context


def broker_files(state: Path) -> Mapping[str, str]:
    pki = state / "pki"
    return {
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / "broker.pem"),
        "key_file": str(pki / "broker.key"),
        "revoked_file": str(pki / "revoked.json"),
    }


def admitted(broker: BrokerProcess, tls: ssl.SSLContext, endpoint: str) -> Peer | None:
    """The connection; None when the broker refuses it."""
    try:
        peer = Peer(broker.address, tls)
        connack = peer.connect(endpoint)
    except (OSError, Closed):
        return None
    if connack is not None and connack.return_code == 0:
        return peer
    peer.socket.close()
    return None


@contextlib.contextmanager
def broker_of(installation: Installation, folder: Path) -> Iterator[BrokerProcess]:
    """A broker with the installation's certificates, which a signal of provisioning reaches."""
    with broker_process(
        Authority(folder / "unused", "of nobody"), folder / "broker",
        journal_file=str(folder / JOURNAL), **broker_files(installation.state),
    ) as broker:  # fmt: skip
        (folder / PID_FILE).write_text(str(broker.pid))
        yield broker


def ended_by_reload(broker: BrokerProcess) -> int:
    """How many connections the broker ended when it heard of a revoked certificate."""
    while not (said := broker.line())["reloaded"]["revoked"]:
        pass
    ended: int = said["reloaded"]["ended"]
    return ended


async def removed(installation: Installation, server: SecurityServer) -> None:
    """Remove the first lamp, and see that access went first and data last."""
    path = "/v1/devices/lamp-1"
    steps = (await installation.client.send("DELETE", path, b"", RemovedDevice)).steps
    # Access first: nothing of the device's data goes before it cannot get in.
    assert steps.index("certificates_revoked") == 0
    assert steps.index("directory_entry_deleted") > steps.index("pre_shared_key_taken_from_server")
    # Its keys and its place are gone, and who revoked what is still known.
    assert set(server.keys) == {"lamp-2"}
    with pytest.raises(HttpError, match="404"):
        await installation.client.get(path, DeviceRecord)
    assert not (installation.state / "objects/credentials/lamp-1.json").exists()
    kept = await installation.client.get("/v1/certificates?endpoint=lamp-1", CertificatePage)
    assert [each.state for each in kept.certificates] == ["revoked"]


def test_a_removed_device_loses_the_broker_first_and_its_data_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    brokers = (SignalIt(pid_file=str(tmp_path / PID_FILE)),)

    async def story() -> None:
        loop, server = asyncio.get_running_loop(), SecurityServer()
        async with (
            server.serving() as address,
            installed(tmp_path, security_api=address, brokers=brokers) as installation,
        ):
            await installation.bring(as_csv([row(1), row(2)]))
            with broker_of(installation, tmp_path) as broker:
                proofs = [proof_of(installation.state, f"lamp-{n}", tmp_path) for n in (1, 2)]
                gone, other = [
                    await loop.run_in_executor(None, admitted, broker, proof, f"lamp-{n}")
                    for n, proof in enumerate(proofs, 1)
                ]
                assert gone is not None
                assert other is not None
                await removed(installation, server)
                # The broker has heard of it, has thrown the device off and lets it in no more.
                assert await loop.run_in_executor(None, ended_by_reload, broker) == 1
                assert await loop.run_in_executor(None, gone.is_closed)
                assert admitted(broker, proofs[0], "lamp-1") is None
                assert other.is_served()
                gone.socket.close()
                other.socket.close()

    asyncio.run(story())
    # The audit is left (here: in the log, as there is no audit component).
    assert "remove_device of lamp-1 succeeded: certificates_revoked" in caplog.text
    events = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    of_it = [(one["event"], one.get("reason", "")) for one in events if one["identity"] == "lamp-1"]
    assert of_it[:2] == [("connected", ""), ("disconnected", "certificate revoked")]
