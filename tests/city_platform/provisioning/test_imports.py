"""Imports over HTTP: what is made for each device, and what bad input gets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from city_platform.provisioning import runner
from city_platform.provisioning.settings import InvalidSetting, SettingsFile
from city_platform.stores import sqlite
from city_platform.stores.object_store import FileObjectStore, credentials_name
from city_platform.stores.pre_shared_keys import SqlitePreSharedKeyStore
from city_platform.stores.thing_registry import SqliteThingRegistry
from contracts.api import DeviceRecord, ImportJob, RowErrors, Settings
from contracts.credentials import CredentialsDocument, decode_document
from runtime.http_client import HttpClient, HttpError
from tests.city_platform.provisioning.installation import (
    BROKER_URI,
    TOKEN,
    Installation,
    SecurityServer,
    installed,
)
from tests.city_platform.provisioning.rows import COLUMNS, as_csv, row
from tests.processes import WITHIN_S

PSK = "00112233445566778899aabbccddeeff"


async def document(installation: Installation, endpoint: str) -> CredentialsDocument:
    store = FileObjectStore(installation.state / "objects")
    try:
        return decode_document(await store.get(credentials_name(endpoint)))
    finally:
        store.close()


def test_a_device_gets_certificate_thing_policy_groups_credentials_and_place(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(as_csv([row(1)]))
            assert (job.state, job.rows, job.created, job.rejected) == ("finished", 1, 1, 0)
            found = await installation.client.get("/v1/devices/lamp-1", DeviceRecord)
            assert found.groups == ["harbour", "harbour/quay", "harbour/quay/street_lamp"]
            assert found.attributes == {"pole": "steel", "height": "8"}
            credentials = await document(installation, "lamp-1")
            assert credentials.version == found.credentials_version
            _check_credentials(credentials, installation.state / "pki" / "ca.pem")
            things = SqliteThingRegistry(installation.state / "things.sqlite")
            (thing,) = (await things.get(["lamp-1"])).values()
            things.close()
            assert thing.policy.may_publish("devices/lamp-1/state")
            assert not thing.policy.may_publish("devices/lamp-2/state")
            assert thing.certificate.der == credentials.broker.certificate

    asyncio.run(story())


def _check_credentials(credentials: CredentialsDocument, ca_file: Path) -> None:
    broker = credentials.broker
    assert (broker.uri, broker.client_id) == (BROKER_URI, "lamp-1")
    authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    assert broker.ca_certificate == authority.public_bytes(serialization.Encoding.DER)
    certificate = x509.load_der_x509_certificate(broker.certificate)
    certificate.verify_directly_issued_by(authority)
    key = serialization.load_der_private_key(broker.secret_key, None)
    assert key.public_key() == certificate.public_key()
    assert credentials.version == hashlib.sha256(broker.certificate).hexdigest()[:16]
    assert [(found.instance, found.topic) for found in credentials.publications] == [
        (0, "devices/lamp-1/state"),
        (1, "devices/lamp-1/alarm"),
    ]
    assert "</3416/0>" in credentials.publications[0].source


def test_credentials_and_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(1, psk=PSK)]))
            secrets = [
                *installation.state.glob("objects/credentials/*"),
                *installation.state.glob("keys.sqlite*"),
                *installation.state.glob("pki/*.key"),
            ]
            assert len(secrets) >= 4
            assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
            assert list(installation.state.glob("uploads/*")) == []

    asyncio.run(story())


def test_the_same_manifest_again_changes_nothing_and_a_changed_row_updates(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(1), row(2), row(3)]))
            before = [await document(installation, f"lamp-{number}") for number in (1, 2, 3)]
            job, _ = await installation.bring(as_csv([row(1), row(2), row(3)]))
            assert (job.created, job.updated, job.unchanged) == (0, 0, 3)
            changed = [row(1, street="Dam"), row(2, serial="replaced"), row(3)]
            job, _ = await installation.bring(as_csv(changed))
            assert (job.created, job.updated, job.unchanged) == (0, 2, 1)
            after = [await document(installation, f"lamp-{number}") for number in (1, 2, 3)]
            found = await installation.client.get("/v1/devices/lamp-1", DeviceRecord)
            assert found.street == "Dam"
            # A moved device keeps its certificate; new hardware gets another.
            assert [one == two for one, two in zip(before, after, strict=True)] == [
                True,
                False,
                True,
            ]

    asyncio.run(story())


def test_bad_rows_are_reported_by_row_and_stop_nobody(tmp_path: Path) -> None:
    wrong = {
        2: ("latitude", {"latitude": "123"}),
        3: ("endpoint", {"endpoint": "a/b"}),
        4: ("endpoint", {"endpoint": "lamp-1"}),
        5: ("reports", {"model": "traffic_light"}),
        6: ("psk_identity", {"psk_identity": "identity-1"}),
        7: ("psk", {"psk": PSK[:-2] + "zz"}),
        8: ("endpoint", {"endpoint": "svc:control"}),
        9: ("installed_on", {"installed_on": "31/05/2026"}),
        10: ("attributes", {"attributes": "no-equals-sign"}),
        11: ("tenant", {"tenant": ""}),
        12: ("serial", {"serial": "SN000001"}),
        13: ("tenant", {"tenant": "*"}),
        14: ("tenant", {"tenant": "harbour/quay"}),
    }
    rows = [row(number, **(wrong[number][1] if number in wrong else {})) for number in range(1, 16)]

    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, errors = await installation.bring(as_csv(rows, line_end="\r\n", mark=True))
            assert (job.state, job.created, job.rejected) == ("finished", 2, 13)
            found = {error.row: error.field for error in errors.errors}
            assert found == {number: field for number, (field, _) in wrong.items()}
            by_row = {error.row: error for error in errors.errors}
            assert by_row[4].reason == "'lamp-1' appears again, first in row 1"
            assert by_row[4].endpoint == "lamp-1"
            assert by_row[12].reason == "'SN000001' appears again, first in row 1"
            assert PSK[:8] not in by_row[7].reason

    asyncio.run(story())


def test_row_errors_come_in_pages(tmp_path: Path) -> None:
    rows = [row(number, latitude="91") for number in range(1, 6)]

    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(as_csv(rows))
            found = []
            path: str | None = f"/v1/imports/{job.id}/errors?limit=2"
            while path:
                page = await installation.client.get(path, dict)
                found += [error["row"] for error in page["errors"]]
                after = page["next_after"]
                path = f"/v1/imports/{job.id}/errors?limit=2&after={after}" if after else None
            assert found == [1, 2, 3, 4, 5]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"", "empty"),
        (as_csv([]), "no rows"),
        (b"\x00\x01\x02\xff", "neither JSON nor CSV"),
        (as_csv([row(1)], columns=[c for c in COLUMNS if c != "latitude"]), "columns: latitude"),
    ],
)
def test_a_file_that_is_no_manifest_fails_with_one_clear_reason(
    tmp_path: Path, manifest: bytes, says: str
) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, errors = await installation.bring(manifest)
            assert job.state == "failed"
            assert says in (job.reason or "")
            assert errors.errors == []

    asyncio.run(story())


def test_rows_before_an_unreadable_place_are_imported(tmp_path: Path) -> None:
    data = json.dumps([row(1), row(2)]).encode()[:-1] + b" oops"

    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(data, "application/json")
            assert (job.state, job.created) == ("failed", 2)
            assert "after row 2" in (job.reason or "")

    asyncio.run(story())


def test_a_psk_identity_belongs_to_one_device_also_over_imports(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(1)]))
            job, errors = await installation.bring(as_csv([row(2, psk_identity="identity-1")]))
            assert job.rejected == 1
            assert errors.errors[0].reason == "'identity-1' belongs to the device 'lamp-1'"

    asyncio.run(story())


@pytest.mark.slow
def test_keys_are_handed_to_the_lwm2m_server_until_it_takes_them(tmp_path: Path) -> None:
    async def story() -> None:
        server = SecurityServer()
        server.refusals_left = 2
        async with server.serving() as address, installed(tmp_path) as installation:
            settings = json.dumps({"security_api": address}).encode()
            await installation.client.send("PUT", "/v1/settings", settings, Settings)
            job, _ = await installation.bring(as_csv([row(1, psk=PSK), row(2)]))
            assert job.state == "finished"
            assert server.keys["lamp-1"].key.hex() == PSK
            assert len(server.keys["lamp-2"].key) == 16
            before, server.keys = server.keys, {}
            await installation.bring(as_csv([row(1, psk=PSK), row(2)]))
            assert server.keys == {}
            await installation.bring(as_csv([row(1, psk=PSK[::-1]), row(2)]))
            assert set(server.keys) == {"lamp-1"}
            assert server.keys["lamp-1"] != before["lamp-1"]

    asyncio.run(story())


@pytest.mark.slow
def test_an_import_whose_keys_nobody_takes_fails_and_can_be_repeated(tmp_path: Path) -> None:
    async def story() -> None:
        server = SecurityServer()
        server.refusals_left = 1_000
        async with server.serving() as address:
            quick = {"security_api": address, "hand_over_within_s": 0.05}
            async with installed(tmp_path, **quick) as installation:
                job, _ = await installation.bring(as_csv([row(1)]))
                assert (job.state, job.created) == ("failed", 1)
                assert "not taken all keys" in (job.reason or "")
            server.refusals_left = 0
            async with installed(tmp_path, security_api=address) as installation:
                job, _ = await installation.bring(as_csv([row(1)]))
                assert (job.state, job.unchanged) == ("finished", 1)
                assert set(server.keys) == {"lamp-1"}

    asyncio.run(story())


@pytest.mark.slow
def test_a_key_that_the_server_refuses_stays_to_be_handed_over(tmp_path: Path) -> None:
    async def story() -> None:
        server = SecurityServer()
        server.refused_endpoints = {"lamp-1"}
        async with server.serving() as address:
            quick = {"security_api": address, "hand_over_within_s": 3.0}
            async with installed(tmp_path, **quick) as installation:
                job, _ = await installation.bring(as_csv([row(1), row(2)]))
                assert job.state == "failed"
                assert "1 keys, the first because: the security store is full" in (job.reason or "")
                assert set(server.keys) == {"lamp-2"}
                server.refused_endpoints = set()
                job, _ = await installation.bring(as_csv([row(1), row(2)]))
                assert (job.state, job.unchanged) == ("finished", 2)
                assert set(server.keys) == {"lamp-1", "lamp-2"}

    asyncio.run(story())


@pytest.mark.slow
def test_an_import_that_a_kill_interrupted_is_taken_up_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(as_csv([row(1)]))
        state = tmp_path / "state"
        # What a kill leaves behind: a running job, its upload, and half an upload without a job.
        from city_platform.provisioning.jobs import Jobs

        jobs = Jobs(state / "imports.sqlite")
        await jobs.save(ImportJob(id=job.id, state="running", rows=700))
        jobs.close()
        (state / "uploads" / f"{job.id}.manifest").write_bytes(as_csv([row(1), row(2)]))
        (state / "uploads" / "cut-short.manifest").write_bytes(b"endpoint,ser")
        async with installed(tmp_path) as installation:
            async with asyncio.timeout(WITHIN_S):
                while job.state != "finished" or job.rows != 2:
                    await asyncio.sleep(0.005)
                    job = await installation.client.get(f"/v1/imports/{job.id}", ImportJob)
            assert (job.created, job.unchanged) == (1, 1)
            assert list((state / "uploads").iterdir()) == []

    asyncio.run(story())


def test_a_credentials_file_that_was_lost_is_made_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(1), row(2)]))
            path = installation.state / "objects" / credentials_name("lamp-1")
            path.write_bytes(b"")
            job, _ = await installation.bring(as_csv([row(1), row(2)]))
            assert (job.updated, job.unchanged) == (1, 1)
            found = await installation.client.get("/v1/devices/lamp-1", DeviceRecord)
            credentials = await document(installation, "lamp-1")
            assert credentials.version == found.credentials_version

    asyncio.run(story())


def test_a_manifest_is_streamed_and_limited(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        data = as_csv([row(number) for number in range(1, 40)])
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    async def story() -> None:
        async with installed(tmp_path, upload_bytes_max=10_000, rows_max=50) as installation:
            job = await installation.client.send(
                "POST", "/v1/imports", pieces(), ImportJob, "text/csv"
            )
            assert job.state == "running"
            too_large = as_csv([row(number) for number in range(500)])
            async with HttpClient(installation.address, TOKEN) as client:
                with pytest.raises(HttpError, match="413"):
                    await client.send("POST", "/v1/imports", too_large, ImportJob)
            job, _ = await installation.bring(
                as_csv([dict.fromkeys(COLUMNS, "") for _ in range(60)])
            )
            assert job.state == "failed"
            assert "more than 50 rows" in (job.reason or "")

    asyncio.run(story())


def test_nobody_gets_in_without_the_token_and_nothing_unknown_is_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path, broker_uri=None) as installation:
            for path in ("/v1/devices/lamp-1", "/v1/imports/x", "/v1/imports/x/errors"):
                async with HttpClient(installation.address, "guessed") as guessing:
                    with pytest.raises(HttpError, match="401"):
                        await guessing.get(path, dict)
                with pytest.raises(HttpError, match="404"):
                    await installation.client.get(path, dict)
            with pytest.raises(HttpError, match="409"):
                await installation.bring(as_csv([row(1)]))
            for body in (b"{", b'{"broker_uri": "http://x"}', b'{"token": "x"}', b"\xff"):
                with pytest.raises(HttpError, match="400"):
                    await installation.client.send("PUT", "/v1/settings", body, Settings)
            async with HttpClient(installation.address) as anybody:
                assert await anybody.get("/healthz", dict) == {"status": "ok"}

    asyncio.run(story())


@pytest.mark.slow
def test_settings_outlive_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        uri = b'{"broker_uri": "mqtts://127.0.0.1:1"}'
        async with installed(tmp_path, broker_uri=None) as installation:
            await installation.client.send("PUT", "/v1/settings", uri, Settings)
        async with installed(tmp_path, broker_uri=None) as installation:
            await installation.bring(as_csv([row(1)]))
            found = await document(installation, "lamp-1")
            assert found.broker.uri == "mqtts://127.0.0.1:1"

    asyncio.run(story())


def test_key_holders_never_show_their_keys(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(1, psk=PSK)]))
            keys = SqlitePreSharedKeyStore(installation.state / "keys.sqlite")
            (key,) = (await keys.get(["lamp-1"])).values()
            keys.close()
            assert key.key.hex() == PSK
            assert PSK not in repr(key)
            assert repr(key.key)[2:-1] not in repr(key)

    asyncio.run(story())


@pytest.mark.parametrize("after", ["-1", str(2**63), "9" * 30, "x"])
def test_a_row_number_that_cannot_be_is_refused(tmp_path: Path, after: str) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(b"endpoint")
            with pytest.raises(HttpError, match="400"):
                await installation.client.get(
                    f"/v1/imports/{job.id}/errors?after={after}", RowErrors
                )

    asyncio.run(story())


def test_an_import_that_cannot_be_kept_is_refused_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)

    async def story() -> None:
        async with installed(tmp_path) as installation:
            held = sqlite3.connect(installation.state / "imports.sqlite")
            with contextlib.closing(held) as other:
                other.execute("BEGIN EXCLUSIVE")
                with pytest.raises(HttpError, match=r"503.*database is locked"):
                    await installation.bring(as_csv([row(1)]))
                assert list((installation.state / "uploads").iterdir()) == []
            job, _ = await installation.bring(as_csv([row(1)]))
            assert job.state == "finished"

    asyncio.run(story())


def test_an_import_ends_and_is_told_when_its_database_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(runner, "RETRY_S", 0.001)
    first, second = as_csv([row(1)]), as_csv([row(2)])

    async def story() -> None:
        async with installed(tmp_path) as installation:
            job = await installation.client.send("POST", "/v1/imports", first, ImportJob)
            held = sqlite3.connect(installation.state / "imports.sqlite")
            with contextlib.closing(held) as other:
                # Now, or while it is at work: either way it ends, and the component does not.
                other.execute("BEGIN EXCLUSIVE")
                await asyncio.sleep(0)
            async with asyncio.timeout(WITHIN_S):
                while job.state == "running":
                    job = await installation.client.get(f"/v1/imports/{job.id}", ImportJob)
            job, _ = await installation.bring(second)
            assert job.state == "finished"

    asyncio.run(story())


@pytest.mark.parametrize(
    "uri", ["mqtts://[::1:8883", "mqtts://a]:1", "mqtts://h:0", "mqtts://h:65536", "mqtts://:1"]
)
def test_a_broker_that_no_device_could_find_is_no_setting(tmp_path: Path, uri: str) -> None:
    settings = SettingsFile(tmp_path / "settings.json", Settings())
    with pytest.raises(InvalidSetting, match=r"mqtts://127\.0\.0\.1:8883"):
        settings.update(Settings(broker_uri=uri))
    assert settings.update(Settings(broker_uri="mqtts://[::1]:8883")).broker_uri
