"""A device is removed while it is connected: access first, data last, and the audit stays."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from city_platform.provisioning.broker_notices import SignalIt
from city_platform.provisioning.key_files import pem
from contracts.api import CertificatePage, DeviceRecord, RemovedDevice
from contracts.credentials import decode_document
from runtime.http_client import HttpError
from tests.city_platform.provisioning.installation import SecurityServer, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.harness.mqtt_broker.world import Authority, BrokerProcess, Closed, Peer, broker_process

pytestmark = pytest.mark.slow


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


def test_a_removed_device_loses_the_broker_first_and_its_data_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pid_file, journal = tmp_path / "broker.pid", tmp_path / "broker.jsonl"
    brokers = (SignalIt(pid_file=str(pid_file)),)

    async def story() -> None:
        loop, server = asyncio.get_running_loop(), SecurityServer()
        async with (
            server.serving() as address,
            installed(tmp_path, security_api=address, brokers=brokers) as installation,
        ):
            await installation.bring(as_csv([row(1), row(2)]))
            unused = Authority(tmp_path / "unused", "of nobody")
            with broker_process(
                unused,
                tmp_path / "broker",
                journal_file=str(journal),
                **broker_files(installation.state),
            ) as broker:
                pid_file.write_text(str(broker.pid))
                proofs = {
                    f"lamp-{n}": proof_of(installation.state, f"lamp-{n}", tmp_path) for n in (1, 2)
                }
                gone = await loop.run_in_executor(
                    None, admitted, broker, proofs["lamp-1"], "lamp-1"
                )
                other = await loop.run_in_executor(
                    None, admitted, broker, proofs["lamp-2"], "lamp-2"
                )
                assert gone is not None
                assert other is not None
                path = "/v1/devices/lamp-1"
                removed = await installation.client.send("DELETE", path, b"", RemovedDevice)
                # Access first: nothing of the device's data goes before it cannot get in.
                assert removed.steps.index("certificates_revoked") == 0
                assert removed.steps.index("directory_entry_deleted") > removed.steps.index(
                    "pre_shared_key_taken_from_server"
                )
                # The broker has heard of it, has thrown the device off and lets it in no more.
                while True:
                    said = await loop.run_in_executor(None, broker.line)
                    if said["reloaded"]["revoked"]:
                        break
                assert said["reloaded"]["ended"] == 1
                assert await loop.run_in_executor(None, gone.is_closed)
                assert admitted(broker, proofs["lamp-1"], "lamp-1") is None
                assert other.is_served()
                # Its keys and its place are gone, and who revoked what is still known.
                assert set(server.keys) == {"lamp-2"}
                with pytest.raises(HttpError, match="404"):
                    await installation.client.get(path, DeviceRecord)
                assert not (installation.state / "objects/credentials/lamp-1.json").exists()
                kept = await installation.client.get(
                    "/v1/certificates?endpoint=lamp-1", CertificatePage
                )
                assert [each.state for each in kept.certificates] == ["revoked"]
                gone.socket.close()
                other.socket.close()

    asyncio.run(story())
    # The audit is left (here: in the log, as there is no audit component).
    assert "remove_device of lamp-1 succeeded: certificates_revoked" in caplog.text
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(one["event"], one.get("reason", "")) for one in events if one["identity"] == "lamp-1"][
        :2
    ] == [("connected", ""), ("disconnected", "certificate revoked")]
