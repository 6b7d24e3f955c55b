"""What a fleet is told, and what it answers to nonsense."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.fleet.addresses import SHARED_DEVICES_MAX, address_of, choose_mode
from fake_devices.fleet.commands import (
    CutPower,
    End,
    Follow,
    IllegalCommand,
    Quiesce,
    Start,
    SwitchOff,
    SwitchOn,
    parse_command,
)
from fake_devices.fleet.config import FleetConfig, ServerAddress, parse_server, read_devices
from fake_devices.fleet.loop_health import LoopHealth
from fake_devices.fleet.process import with_addresses
from runtime.component import ConfigError

LOOPBACK, ELSEWHERE = ServerAddress("127.0.0.1", 5683), ServerAddress("192.0.2.1", 5683)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b'{"start": {"rate_per_s": 50.0}}', Start(50.0)),
        (b'{"follow": {"began_ns": 7}}', Follow(7)),
        (b'{"switch_on": {"positions": [2, 0], "over_s": 1.0}}', SwitchOn([2, 0], 1.0)),
        (b'{"switch_off": {"positions": [1]}}', SwitchOff([1])),
        (b'{"cut_power": {"outage_s": 3, "return_within_s": 5}}', CutPower(3.0, 5.0)),
        (b'{"quiesce": {"within_s": 10}}', Quiesce(10.0)),
        (b'{"quiesce": {"within_s": 10, "ends_samples": true}}', Quiesce(10.0, True)),
        (b'{"end": {}}', End()),
    ],
)
def test_commands_are_read(line, command):
    assert parse_command(line, devices=3) == command


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{}", "expected one of start, follow, switch_on"),
        (b'{"end": {}, "quiesce": {"within_s": 1}}', "expected one of"),
        (b'{"start": {"rate_per_s": 0}}', "rate_per_s must be above 0"),
        (b'{"switch_on": {"positions": [3]}}', "position 3: there are 3 devices"),
        (b'{"switch_off": {"positions": [-1]}}', "position -1"),
        (b'{"switch_on": {"positions": [0], "over_s": -1}}', "over_s"),
        (b'{"cut_power": {"outage_s": 1, "return_within_s": 1, "ratio": 2}}', "ratio"),
        (b'{"restart": {}}', "not a command"),
        (b"\xff", "not a command"),
    ],
)
def test_what_is_no_command_is_told_so(line, told):
    with pytest.raises(IllegalCommand, match=told):
        parse_command(line, devices=3)


@given(st.binary(max_size=80) | st.dictionaries(st.text(), st.none()).map(msgspec.json.encode))
def test_a_line_that_is_no_command_is_refused(line):
    with pytest.raises(IllegalCommand):
        parse_command(line, devices=3)


def test_servers_are_read():
    assert parse_server("coap://127.0.0.1:5700") == ServerAddress("127.0.0.1", 5700)
    assert parse_server("coap://lwm2m.example").port == 5683


@pytest.mark.parametrize("uri", ["127.0.0.1:5683", "http://a", "coap://", "coap://a:b", ""])
def test_a_server_that_is_no_coap_uri_is_refused(uri):
    with pytest.raises(ConfigError, match="server"):
        parse_server(uri)


def write(path, *devices):
    path.write_bytes(b"\n".join(msgspec.json.encode(device) for device in devices))
    return path


DEVICE = {
    "endpoint": "lamp-1",
    "serial": "S",
    "model": "street_lamp",
    "latitude": 52.0,
    "longitude": 4.0,
    "street": "ignored",
}


def test_devices_are_read_in_order(tmp_path):
    path = write(tmp_path / "devices", DEVICE, DEVICE | {"endpoint": "lamp-0"})
    assert [device.endpoint for device in read_devices(path)] == ["lamp-1", "lamp-0"]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"endpoint": "a/b"}, "line 2.*a/b"),
        ({"endpoint": "lamp-1"}, "line 2.*twice"),
        ({"endpoint": "lamp-2", "model": "toaster"}, "line 2.*toaster"),
        ({"endpoint": "lamp-2", "latitude": "north"}, "line 2.*latitude"),
    ],
)
def test_a_bad_device_is_named_by_its_line(tmp_path, second, why):
    path = write(tmp_path / "devices", DEVICE, DEVICE | second)
    with pytest.raises(ConfigError, match=why):
        read_devices(path)


def test_a_missing_devices_file_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_devices(tmp_path / "nowhere")


def test_device_settings_are_part_of_the_configuration():
    text = b'{"devices_file": "d", "server": "coap://a", "report_every_s": 2, "lifetime_s": 60}'
    config = msgspec.json.decode(text, type=FleetConfig)
    assert (config.report_every_s, config.lifetime_s) == (2.0, 60)
    assert with_addresses(config, "own").addresses == "own"
    assert with_addresses(config, None) is config
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        msgspec.json.decode(b'{"devices_file": "", "server": "", "speed": 1}', type=FleetConfig)


def test_one_socket_is_for_loopback_alone():
    assert choose_mode("auto", LOOPBACK, 10) == "shared"
    assert choose_mode("auto", ELSEWHERE, 10) == "own"
    assert choose_mode("own", LOOPBACK, 10) == "own"
    for server, devices in ((ELSEWHERE, 10), (LOOPBACK, SHARED_DEVICES_MAX + 1)):
        with pytest.raises(ConfigError, match="shared"):
            choose_mode("shared", server, devices)


def test_every_device_has_an_address_of_its_own():
    positions = [*range(70_000), SHARED_DEVICES_MAX - 1]
    addresses = [address_of(position) for position in positions]
    assert len(set(addresses)) == len(addresses)
    assert addresses[0] == "127.16.1.1"
    assert addresses[-1] == "127.255.254.254"


def test_percentile_and_maximum_are_of_one_sample():
    health = LoopHealth()
    assert health.take() == (0, 0)
    health.add(range(1, 201))
    assert health.take() == (199, 200)
    assert health.take() == (0, 0)
