"""Devices files for several machines: no device twice, and a key for each at the server."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fake_devices.fleet.config import DeviceLine, read_devices
from harness.errors import ScenarioError
from harness.load.make_shares import KEYS_FILE, main, make_shares
from harness.lwm2m_server.security_store import decode_row
from harness.runner.cohort import choose

ROWS = choose(None, 10, seed=1).rows


def devices(content: bytes) -> list[DeviceLine]:
    return [msgspec.json.decode(line, type=DeviceLine) for line in content.splitlines()]


def test_every_device_is_in_one_file_and_has_a_key_of_its_own() -> None:
    keys = iter(range(256))
    files = make_shares(ROWS, 3, lambda size: bytes([next(keys)]) * size)
    rows = [decode_row(line) for line in files.pop(KEYS_FILE).splitlines()]
    found = [device for content in files.values() for device in devices(content)]
    assert sorted(files) == ["devices-1.ndjson", "devices-2.ndjson", "devices-3.ndjson"]
    assert sorted(each.endpoint for each in found) == sorted(row.endpoint for row in ROWS)
    assert len({each.psk for each in found}) == len(ROWS)
    assert {(each.psk_identity, each.psk) for each in found} == {
        (row.identity, row.key.hex()) for row in rows
    }


def test_they_are_their_owners_alone_and_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--devices", "10", "--machines", "2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    assert len(read_devices(tmp_path / "devices-2.ndjson")) == 5
    assert main(arguments) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert "stay as they are" in capsys.readouterr().err


@pytest.mark.parametrize("machines", [0, 11, 1001])
def test_machines_without_devices_are_refused(machines: int) -> None:
    with pytest.raises(ScenarioError, match="--machines"):
        make_shares(ROWS, machines, bytes)
