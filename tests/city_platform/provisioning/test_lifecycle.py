"""Certificates and devices after their import, over HTTP: replaced, revoked, rotated, removed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.stores.object_store import ObjectMissing
from contracts.api import (
    AuthorityStatus,
    CertificatePage,
    CertificateStatus,
    DeviceRecord,
    GroupMembers,
    IssuedCertificate,
    RemovedDevice,
    RevokedList,
    RotationState,
    ThingGroups,
)
from contracts.credentials import CredentialsDocument, decode_document
from contracts.policy import Policy
from runtime.http_client import HttpError
from tests.city_platform.provisioning.installation import (
    Installation,
    SecurityServer,
    installed,
)
from tests.city_platform.provisioning.rows import as_csv, row
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
MANIFEST = as_csv([row(1), row(2), row(3, site="dock")])
_B = TypeVar("_B")


async def post(
    installation: Installation, path: str, body: object, kind: type[_B], method: str = "POST"
) -> _B:
    sent = b"" if body is None else msgspec.json.encode(body)
    return await installation.client.send(method, path, sent, kind)


async def refused(
    installation: Installation, path: str, body: object, method: str = "POST"
) -> tuple[int, str]:
    sent = b"" if body is None else msgspec.json.encode(body)
    with pytest.raises(HttpError) as failed:
        await installation.client.send(method, path, sent, dict)
    return failed.value.status or 0, str(failed.value)


def document(installation: Installation, endpoint: str) -> CredentialsDocument:
    path = installation.state / "objects" / "credentials" / f"{endpoint}.json"
    if not path.exists():
        raise ObjectMissing(endpoint)
    return decode_document(path.read_bytes())


async def certificates(installation: Installation, query: str = "") -> list[CertificateStatus]:
    page = await installation.client.get(f"/v1/certificates?{query}", CertificatePage)
    return page.certificates


async def until_rotated(installation: Installation) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            state = await installation.client.get("/v1/rotations", RotationState)
            if not state.waiting:
                return
            await asyncio.sleep(0.005)


def own_request(endpoint: str) -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, endpoint)])
    found = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return key, found.public_bytes(serialization.Encoding.PEM).decode()


def test_a_certificate_says_since_when_it_is_in_its_state(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(MANIFEST)
            imported = await certificates(installation)
            # The clock stands still: all of it is at one moment.
            assert {(one.state, one.since_us) for one in imported} == {
                ("active", job.started_at_us)
            }
            path = f"/v1/certificates/{imported[0].sha256}/revoke"
            revoked = await post(installation, path, {}, CertificateStatus)
            assert (revoked.state, revoked.since_us) == ("revoked", job.started_at_us)

    asyncio.run(story())


def test_another_certificate_takes_over_and_the_one_before_stays_valid(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)
            before = document(installation, "lamp-1")
            path = "/v1/devices/lamp-1/certificate"
            made = await post(installation, path, {}, IssuedCertificate)
            after = document(installation, "lamp-1")
            assert after.version == made.sha256[:16] != before.version
            assert after.broker.secret_key != before.broker.secret_key
            assert after.publications == before.publications
            states = {one.sha256[:16]: one.state for one in await certificates(installation)}
            assert states[before.version] == "superseded"
            assert states[after.version] == "active"
            # The same manifest again changes nothing.
            job, _ = await installation.bring(MANIFEST)
            assert (job.unchanged, job.updated) == (3, 0)
            assert (await refused(installation, "/v1/devices/x/certificate", {}))[0] == 404
            assert (await refused(installation, path, {"key": "mine"}))[0] == 400

    asyncio.run(story())


def test_a_device_may_keep_its_key(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)
            path = "/v1/devices/lamp-1/certificate"
            key, request = own_request("lamp-1")
            made = await post(installation, path, {"csr": request}, IssuedCertificate)
            certificate = x509.load_pem_x509_certificate(made.certificate.encode())
            assert certificate.public_key() == key.public_key()
            anchor = x509.load_pem_x509_certificate(made.anchors[0].encode())
            certificate.verify_directly_issued_by(anchor)
            assert document(installation, "lamp-1").broker.secret_key == b""
            # Only the device can change its key.
            assert (await refused(installation, path, {}))[0] == 409
            await post(installation, "/v1/rotations", {}, RotationState)
            await until_rotated(installation)
            # It is certified once more, for the same key.
            renewed = document(installation, "lamp-1")
            assert renewed.version != made.sha256[:16]
            assert renewed.broker.secret_key == b""
            certificate = x509.load_der_x509_certificate(renewed.broker.certificate)
            assert certificate.public_key() == key.public_key()
            assert document(installation, "lamp-2").broker.secret_key
            _, other = own_request("lamp-2")
            assert (await refused(installation, path, {"csr": other}))[0] == 422

    asyncio.run(story())


def test_a_revoked_device_gets_nothing_until_it_is_given_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)
            (one,) = await certificates(installation, "endpoint=lamp-1")
            path = f"/v1/certificates/{one.sha256}/revoke"
            body = {"reason": "key_compromise"}
            told = await post(installation, path, body, CertificateStatus)
            assert (told.state, told.reason) == ("revoked", "key_compromise")
            again = await post(installation, path, {}, CertificateStatus)
            assert again.reason == "key_compromise"
            with pytest.raises(ObjectMissing):
                document(installation, "lamp-1")
            # No file of the platform holds its key any more.
            withheld = (installation.state / "objects/withheld/lamp-1.json").read_bytes()
            assert decode_document(withheld).broker.secret_key == b""
            published = await installation.client.get("/v1/revoked", RevokedList)
            assert [found.identity for found in published.revoked] == ["lamp-1"]
            pki = installation.state / "pki"
            assert msgspec.json.decode((pki / "revoked.json").read_bytes(), type=RevokedList) == (
                published
            )
            crl = x509.load_pem_x509_crl((pki / "crl.pem").read_bytes())
            serial = int(told.serial_number, 16)
            assert crl.get_revoked_certificate_by_serial_number(serial) is not None
            # An import is no way around it.
            job, errors = await installation.bring(MANIFEST)
            assert (job.unchanged, job.rejected) == (2, 1)
            assert "was revoked" in errors.errors[0].reason
            await post(installation, "/v1/devices/lamp-1/certificate", {}, IssuedCertificate)
            assert document(installation, "lamp-1").broker.secret_key
            job, _ = await installation.bring(MANIFEST)
            assert job.unchanged == 3
            nobody = f"/v1/certificates/{'0' * 64}/revoke"
            assert (await refused(installation, nobody, {}))[0] == 404
            assert (await refused(installation, path, {"reason": "mood"}))[0] == 400

    asyncio.run(story())


def test_a_group_gets_other_certificates_and_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)
            before = {n: document(installation, f"lamp-{n}").version for n in (1, 2, 3)}
            groups = await installation.client.get("/v1/groups", ThingGroups)
            assert groups.groups["harbour/quay"] == 2
            members = await installation.client.get(
                "/v1/groups/members?name=harbour/quay", GroupMembers
            )
            assert members.members == ["lamp-1", "lamp-2"]
            body = {"group": "harbour/quay"}
            await post(installation, "/v1/rotations", body, RotationState)
            await until_rotated(installation)
            after = {n: document(installation, f"lamp-{n}").version for n in (1, 2, 3)}
            assert [n for n in (1, 2, 3) if before[n] != after[n]] == [1, 2]
            assert (await refused(installation, "/v1/rotations", {"group": "x"}))[0] == 404
            policy = await installation.client.get("/v1/policies/device:lamp-1", Policy)
            assert policy.may_publish("devices/lamp-1/state")

    asyncio.run(story())


def test_one_authority_follows_another_and_nobody_is_left_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)

            async def step(name: str) -> AuthorityStatus:
                body = {"step": name}
                return await post(installation, "/v1/authority", body, AuthorityStatus)

            (old,) = (await installation.client.get("/v1/authority", AuthorityStatus)).anchors
            assert (await refused(installation, "/v1/authority", {"step": "switch"}))[0] == 409
            both = await step("begin")
            assert both.anchors[0] == old
            keys = (installation.state / "pki" / "svc_bridge_s1.key").read_bytes()
            switched = await step("switch")
            assert switched.anchors == both.anchors[::-1]
            async with asyncio.timeout(WITHIN_S):
                while switched.devices_of_previous:
                    await asyncio.sleep(0.005)
                    switched = await installation.client.get("/v1/authority", AuthorityStatus)
            finished = await step("finish")
            assert finished.anchors == [both.anchors[1]]
            new = x509.load_pem_x509_certificate(finished.anchors[0].encode())
            for n in (1, 2, 3):
                broker = document(installation, f"lamp-{n}").broker
                x509.load_der_x509_certificate(broker.certificate).verify_directly_issued_by(new)
                assert x509.load_der_x509_certificate(broker.ca_certificate) == new
            service = installation.state / "pki" / "svc_bridge_s1.pem"
            x509.load_pem_x509_certificate(service.read_bytes()).verify_directly_issued_by(new)
            assert service.with_suffix(".key").read_bytes() == keys
            job, _ = await installation.bring(as_csv([row(4)]))
            assert job.created == 1

    asyncio.run(story())


def test_the_authority_before_is_not_given_up_while_a_device_needs_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            await installation.bring(MANIFEST)
            path = "/v1/devices/lamp-1/certificate"
            (one,) = await certificates(installation, "endpoint=lamp-1")
            revoking = f"/v1/certificates/{one.sha256}/revoke"
            await post(installation, revoking, {}, CertificateStatus)
            for name in ("begin", "switch"):
                await post(installation, "/v1/authority", {"step": name}, AuthorityStatus)
            await until_rotated(installation)
            status, text = await refused(installation, "/v1/authority", {"step": "finish"})
            assert status == 409
            assert "1 devices" in text
            await post(installation, path, {}, IssuedCertificate)
            await post(installation, "/v1/authority", {"step": "finish"}, AuthorityStatus)

    asyncio.run(story())


def test_a_removed_device_is_nowhere_but_on_the_list_of_the_revoked(tmp_path: Path) -> None:
    async def story() -> None:
        server = SecurityServer()
        async with (
            server.serving() as address,
            installed(tmp_path, security_api=address) as installation,
        ):
            await installation.bring(MANIFEST)
            path = "/v1/devices/lamp-1"
            assert set(server.keys) == {"lamp-1", "lamp-2", "lamp-3"}
            gone = await post(installation, path, None, RemovedDevice, "DELETE")
            assert gone.steps[0] == "certificates_revoked"
            assert gone.steps[-1] == "thing_deleted"
            assert set(server.keys) == {"lamp-2", "lamp-3"}
            assert (await refused(installation, path, None, "GET"))[0] == 404
            assert (await refused(installation, path, None, "DELETE"))[0] == 404
            with pytest.raises(ObjectMissing):
                document(installation, "lamp-1")
            (one,) = await certificates(installation, "state=revoked")
            assert (one.endpoint, one.reason) == ("lamp-1", "cessation_of_operation")
            members = await installation.client.get(
                "/v1/groups/members?name=harbour/quay", GroupMembers
            )
            assert members.members == ["lamp-2"]
            # It may come back, as a new device.
            job, _ = await installation.bring(MANIFEST)
            assert (job.created, job.unchanged) == (1, 2)
            await installation.client.get(path, DeviceRecord)

    asyncio.run(story())


def test_a_removal_that_cannot_end_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        server = SecurityServer()
        async with server.serving() as address:
            async with installed(tmp_path, security_api=address) as installation:
                await installation.bring(MANIFEST)
                server.refusals_left = 1
                status, text = await refused(installation, "/v1/devices/lamp-1", None, "DELETE")
                assert (status, "goes on later" in text) == (503, True)
                # Its access is gone already.
                assert [one.endpoint for one in await certificates(installation, "state=revoked")]
                with pytest.raises(ObjectMissing):
                    document(installation, "lamp-1")
            async with installed(tmp_path, security_api=address) as installation:
                async with asyncio.timeout(WITHIN_S):
                    while "lamp-1" in server.keys:  # noqa: ASYNC110  # a few turns of the loop
                        await asyncio.sleep(0.005)
                with contextlib.suppress(HttpError):
                    async with asyncio.timeout(WITHIN_S):
                        while True:
                            await installation.client.get("/v1/devices/lamp-1", DeviceRecord)
                            await asyncio.sleep(0.005)

    asyncio.run(story())


@pytest.mark.parametrize(
    "query",
    ["colour=red", "state=mood", "limit=0", "limit=x", "expires_before_us=soon", "cursor=x"],
)
def test_a_wrong_list_is_refused(tmp_path: Path, query: str) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            path = f"/v1/certificates?{query}"
            status, text = await refused(installation, path, None, "GET")
            assert (status, query.partition("=")[0] in text) == (400, True)

    asyncio.run(story())
