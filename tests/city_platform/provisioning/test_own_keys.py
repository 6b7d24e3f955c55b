"""Manifests with signing requests: devices that keep their private key."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.provisioning.importing import manifest_digest
from contracts.credentials import decode_document
from contracts.manifest import InvalidField, read_row
from fake_devices.city import check_manifest, write_manifest
from fake_devices.fleet.own_keys import make_own_keys, make_request
from tests.city_platform.provisioning.installation import Installation, installed
from tests.city_platform.provisioning.rows import as_csv, row

KEY, OTHER = (ec.derive_private_key(number, ec.SECP256R1()) for number in (7, 8))


def pem_of(request: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    text = b64encode(request).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def manifest(*rows: dict[str, object]) -> bytes:
    return msgspec.json.encode(list(rows))


def certificate_of(installation: Installation, endpoint: str) -> tuple[x509.Certificate, bytes]:
    path = installation.state / "objects" / "credentials" / f"{endpoint}.json"
    broker = decode_document(path.read_bytes()).broker
    return x509.load_der_x509_certificate(broker.certificate), broker.secret_key


@pytest.mark.parametrize(
    "text",
    [
        pem_of(make_request("lamp-1", KEY)),
        pem_of(make_request("lamp-1", KEY), "NEW CERTIFICATE REQUEST").replace("\n", "\r\n"),
        b64encode(make_request("lamp-1", KEY)).decode(),
    ],
    ids=["pem", "pem of another tool", "base64"],
)
def test_a_request_is_read_in_each_form(text: str) -> None:
    found = read_row({**row(1), "csr": text}).csr
    assert found is not None
    assert x509.load_der_x509_csr(found).public_key() == KEY.public_key()


@pytest.mark.parametrize(
    "wrong",
    ["/etc/request.pem", "AAAA", "not base64!", 7, pem_of(b"0", "CERTIFICATE"), "MA==" * 9_000],
)
def test_what_is_no_request_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidField, match="csr: must be a signing request"):
        read_row({**row(1), "csr": wrong})


def test_a_row_without_a_request_is_what_it_was_before_there_was_such_a_column() -> None:
    plain = read_row(row(1))
    keeping = read_row({**row(1), "csr": b64encode(make_request("lamp-1", KEY)).decode()})
    assert manifest_digest(plain) == manifest_digest(keeping)


def test_rows_with_requests_are_written_and_read_again(tmp_path: Path) -> None:
    rows = [read_row(row(number)) for number in (1, 2)]
    made = make_own_keys(rows, ["lamp-2"], tmp_path / "keys")
    found = check_manifest(write_manifest(made.rows))
    assert found.errors == []
    assert found.rows == made.rows
    assert [each.csr is not None for each in found.rows] == [False, True]
    assert list(made.files) == ["lamp-2"]
    assert Path(made.files["lamp-2"]).stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_an_import_certifies_the_key_that_a_device_keeps(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            keeping = {**row(1), "csr": pem_of(make_request("lamp-1", KEY))}
            job, errors = await installation.bring(as_csv_with(keeping, row(2)))
            assert (job.created, errors.errors) == (2, [])
            certificate, key = certificate_of(installation, "lamp-1")
            assert (certificate.public_key(), key) == (KEY.public_key(), b"")
            assert certificate_of(installation, "lamp-2")[1]
            # Another request for the same key says nothing new, one for another does.
            again = {**row(1), "csr": pem_of(make_request("lamp-1", KEY))}
            assert (await installation.bring(manifest(again)))[0].unchanged == 1
            other = {**row(1), "csr": pem_of(make_request("lamp-1", OTHER))}
            assert (await installation.bring(manifest(other)))[0].updated == 1
            certificate, _ = certificate_of(installation, "lamp-1")
            assert certificate.public_key() == OTHER.public_key()
            # Without one the platform makes a key.
            assert (await installation.bring(as_csv([row(1)])))[0].updated == 1
            assert certificate_of(installation, "lamp-1")[1]

    asyncio.run(story())


@pytest.mark.slow
def test_a_wrong_request_costs_its_own_row(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as installation:
            forged = bytearray(make_request("lamp-2", KEY))
            forged[-1] ^= 1
            rows = [
                {**row(1), "csr": pem_of(make_request("lamp-9", KEY))},
                {**row(2), "csr": b64encode(forged).decode()},
                {**row(3), "csr": "nothing"},
                {**row(4), "csr": pem_of(make_request("lamp-4", KEY))},
            ]
            job, errors = await installation.bring(manifest(*rows))
            assert (job.created, job.rejected) == (1, 3)
            assert [(error.row, error.field, error.endpoint) for error in errors.errors] == [
                (1, "csr", "lamp-1"),
                (2, "csr", "lamp-2"),
                (3, "csr", "lamp-3"),
            ]
            told = [error.reason for error in errors.errors]
            assert "the common name lamp-1 alone" in told[0]
            assert "not signed with the key" in told[1]
            assert "must be a signing request" in told[2]

    asyncio.run(story())


def as_csv_with(keeping: dict[str, str], other: dict[str, str]) -> bytes:
    """A CSV manifest whose requests have line ends in their cells."""
    rows = [read_row(dict(keeping)), read_row(dict(other))]
    text = write_manifest(rows).decode()
    (request,) = [one.csr for one in rows if one.csr is not None]
    return text.replace(b64encode(request).decode(), f'"{pem_of(request)}"').encode()
