"""What the bench gives devices to prove themselves with."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.bench.device_security import (
    DeviceKey,
    certificate_fields,
    make_server_identity,
    psk_fields,
    server_files,
    stored_keys,
    write_psk_files,
)

WALL_US = 1_767_225_600_000_000


def _store(state: Path, *lines: str) -> None:
    (state / "server").mkdir()
    (state / "server" / "security.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _row(endpoint: str, key: bytes) -> str:
    encoded = base64.b64encode(key).decode()
    return f'{{"endpoint":"{endpoint}","identity":"id-{endpoint}","key":"{encoded}"}}'


def test_the_last_word_of_the_security_store_counts(tmp_path: Path) -> None:
    _store(
        tmp_path,
        _row("lamp-1", b"a" * 16),
        _row("lamp-2", b"b" * 16),
        _row("lamp-1", b"c" * 16),
        '{"removed":"lamp-2"}',
    )
    keys = stored_keys(tmp_path)
    assert set(keys) == {"lamp-1"}
    assert psk_fields(keys, "lamp-1") == {"psk_identity": "id-lamp-1", "psk": "63" * 16}


def test_a_store_that_is_not_there_holds_no_keys(tmp_path: Path) -> None:
    assert stored_keys(tmp_path) == {}


def test_a_key_shows_nowhere_but_in_its_owners_file(tmp_path: Path) -> None:
    key = DeviceKey(endpoint="lamp-1", identity="id", key=b"k" * 16)
    write_psk_files(tmp_path, {"lamp-1": key})
    (file,) = (tmp_path / "lwm2m_pki" / "devices").iterdir()
    assert file.read_text() == "6b" * 16
    assert file.stat().st_mode & 0o077 == 0
    assert "kkkk" not in repr(key)


@pytest.mark.filterwarnings("ignore:Attribute's length must be")
def test_a_devices_certificate_bears_its_name_and_ends_at_the_makers_authority(
    tmp_path: Path,
) -> None:
    make_server_identity(tmp_path, "127.0.0.1", WALL_US)
    long_name = "n" * 128
    fields = certificate_fields(tmp_path, ["lamp-1", long_name], WALL_US)
    authority = x509.load_pem_x509_certificate(
        Path(server_files(tmp_path)["trust_anchors_file"]).read_bytes()
    )
    for endpoint, files in fields.items():
        certificate = x509.load_pem_x509_certificate(Path(files["certificate"]).read_bytes())
        (name,) = certificate.subject
        assert name.value == endpoint
        certificate.verify_directly_issued_by(authority)
        key = load_pem_private_key(Path(files["key"]).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.public_key() == certificate.public_key()
        assert Path(files["key"]).stat().st_mode & 0o077 == 0


def test_the_servers_certificate_is_for_its_address_and_stays(tmp_path: Path) -> None:
    make_server_identity(tmp_path, "127.0.0.1", WALL_US)
    file = Path(server_files(tmp_path)["certificate_file"])
    made = file.read_bytes()
    names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    make_server_identity(tmp_path, "127.0.0.1", WALL_US + 1)
    assert file.read_bytes() == made
