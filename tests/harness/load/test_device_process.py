"""What the fleet beside a Locust worker is told, and when it switches devices on."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.fleet.commands import End, Quiesce
from harness.load.device_process import IllegalLine, SwitchOff, SwitchOn, parse_line


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b'{"switch_on": {"positions": [2, 0], "over_s": 1.0}}', SwitchOn([2, 0], 1.0)),
        (b'{"switch_off": {"positions": [1]}}', SwitchOff([1])),
        (b'{"quiesce": {"within_s": 5}}', Quiesce(5.0)),
        (b'{"end": {}}', End()),
    ],
)
def test_a_command_is_one_line(line: bytes, command: object) -> None:
    assert parse_line(line, devices=3) == command


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{}", "expected one of"),
        (b'{"end": {}, "quiesce": {"within_s": 1}}', "expected one of"),
        (b'{"switch_on": {"positions": [3]}}', "position 3: there are 3 devices"),
        (b'{"switch_off": {"positions": [-1]}}', "position -1"),
        (b'{"switch_on": {"positions": [0], "over_s": -1}}', "over_s -1"),
        (b'{"restart": {}}', "not a command"),
        (b"\xff", "not a command"),
    ],
)
def test_what_is_no_command_is_told_so(line: bytes, told: str) -> None:
    with pytest.raises(IllegalLine, match=told):
        parse_line(line, devices=3)


@given(line=st.binary() | st.dictionaries(st.text(), st.none()).map(msgspec.json.encode))
def test_any_line_is_a_command_or_illegal(line: bytes) -> None:
    try:
        parse_line(line, devices=3)
    except IllegalLine as error:
        assert str(error)  # noqa: PT017  # both ends are right
