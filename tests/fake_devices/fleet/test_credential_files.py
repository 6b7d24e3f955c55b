"""What files of credentials must be like, and what becomes of an account in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_devices.device import ServerAccount
from fake_devices.fleet.config import read_devices
from fake_devices.fleet.credentials import account_of, credentials_for, read_trust_anchors
from lwm2m.transport.dtls import PskCredentials, X509Credentials
from runtime.component import ConfigError
from tests.fake_devices.fleet.played_fleet import KEY, pem_of, write_devices


def test_a_devices_file_with_keys_must_be_its_owners_alone(tmp_path):
    path = Path(write_devices(tmp_path / "devices", psk_identity="x", psk="00"))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        read_devices(path)


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        ({}, "needs psk_identity"),
        ({"psk_identity": "x", "psk": "xyz"}, "not hexadecimal"),
        ({"psk_identity": "x", "psk": ""}, "empty"),
        ({"certificate": "/nowhere/c", "key": "/nowhere/k"}, "cannot read"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(tmp_path, credentials, why):
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **credentials)))
    with pytest.raises(ConfigError, match=why) as error:
        account_of(line, "coaps://127.0.0.1", 101)
    assert "xyz" not in str(error.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path, authority):
    pair = pem_of(authority.issue("lamp"), tmp_path, "lamp")
    Path(pair["key"]).chmod(0o644)
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **pair)))
    with pytest.raises(ConfigError, match="0600"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_a_key_of_another_certificate_is_refused(tmp_path, authority):
    pair = pem_of(authority.issue("lamp"), tmp_path, "lamp")
    other = pem_of(authority.issue("other"), tmp_path, "other")
    mixed = {"certificate": pair["certificate"], "key": other["key"]}
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **mixed)))
    with pytest.raises(ConfigError, match="does not belong to the certificate"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_files_that_are_no_pem_are_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not PEM"):
        read_trust_anchors(path)
    (line, *_) = read_devices(
        Path(write_devices(tmp_path / "devices", certificate=str(path), key=str(path)))
    )
    with pytest.raises(ConfigError, match="not PEM"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_no_repr_shows_a_key(tmp_path):
    (line, *_) = read_devices(
        Path(write_devices(tmp_path / "devices", psk_identity="x", psk=KEY.hex()))
    )
    account = account_of(line, "coaps://127.0.0.1", 101)
    assert account.key == KEY
    assert KEY.hex() not in repr(line) + repr(account) + repr(KEY in [repr(account)])


def test_accounts_become_credentials_or_nothing():
    psk = ServerAccount(1, "coaps://s", 0, b"lamp", KEY)
    assert credentials_for(psk, ()) == PskCredentials("lamp", KEY)
    x509 = ServerAccount(1, "coaps://s.example", 2, b"certificate", b"key", b"server")
    assert credentials_for(x509, ()) == X509Credentials(
        (b"certificate",), b"key", server_name="s.example", server_key=b"server"
    )
    unusable = [
        ServerAccount(1, "coaps://s", 0, b"\xff", KEY),
        ServerAccount(1, "coaps://s", 0, b"lamp", b""),
        ServerAccount(1, "coaps://s", 2, b"certificate", b"key"),
    ]
    assert [credentials_for(each, ()) for each in unusable] == [None] * 3
