"""The search for secrets finds them in every form they take, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.bench.configs import FLEET_FILE, fleet_name
from harness.runner.secrets import outputs_of, private_scalar, scan

KEY = ec.derive_private_key(0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0_1234_5678, ec.SECP256R1())
DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
SECRET = private_scalar(DER)


def test_the_scalar_of_pem_and_der_is_the_same() -> None:
    assert private_scalar(PEM) == SECRET
    assert len(SECRET) == 32


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(DER, id="der"),
        pytest.param(PEM, id="pem"),
        pytest.param(PEM.replace(b"\n", b"\\n"), id="pem-in-json"),
        pytest.param(base64.b64encode(DER), id="base64-of-der"),
        pytest.param(base64.b64encode(b"x" + DER), id="base64-shifted-by-one"),
        pytest.param(base64.b64encode(b"xy" + DER), id="base64-shifted-by-two"),
        pytest.param(base64.urlsafe_b64encode(SECRET), id="base64url"),
        pytest.param(SECRET.hex().encode(), id="hex"),
        pytest.param(SECRET.hex().upper().encode(), id="hex-upper"),
        pytest.param(json.dumps({"key": SECRET.hex()}).encode(), id="json"),
    ],
)
def test_a_secret_is_found_in_every_form(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.log"
    path.write_bytes(b"noise " * 1000 + content + b" noise" * 1000)
    assert scan([SECRET], [path]).found == [str(path)]


def test_a_secret_inside_gzip_is_found(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 5000 + SECRET))
    assert scan([SECRET], [path]).found == [str(path)]


def test_clean_outputs_are_counted_and_clean(tmp_path: Path) -> None:
    for name in ("a.log", "b.gz"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 100)
    result = scan([SECRET, b"another secret of 24 by."], sorted(tmp_path.iterdir()))
    assert result.found == []
    assert result.files == 2
    assert result.searched_bytes == 2 * 25_600


def test_a_short_secret_is_refused_because_chance_would_find_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="under 16 bytes"):
        scan([b"short"], [])


def test_a_secret_across_two_chunks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runner.secrets.CHUNK_BYTES", 64)
    path = tmp_path / "out.bin"
    path.write_bytes(b"\0" * 50 + SECRET + os.urandom(100))
    assert scan([SECRET], [path]).found == [str(path)]


def test_the_devices_files_of_all_fleets_are_vaults_and_nothing_else_of_theirs_is(
    tmp_path: Path,
) -> None:
    state, output = tmp_path / "state", tmp_path / "output"
    for folder in (state, output):
        folder.mkdir()
        for nth in (0, 1, 63):
            (folder / FLEET_FILE.replace("fleet", fleet_name(nth))).write_bytes(b"keys")
    (state / "fleet-2.log").write_bytes(b"a log")
    found = outputs_of(output, state)
    assert {path.parent for path in found} == {output, state}
    assert [path.name for path in found if path.parent == state] == ["fleet-2.log"]
    assert len(found) == 4
