"""A device updates its firmware over the network, by push and by pull; ETS 751 to 779."""

from __future__ import annotations

from typing import Any

import pytest

from fake_devices.device import ServerAccount
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import content_formats
from lwm2m.firmware import FirmwarePackage, FirmwareSettings, encode_package
from tests.fake_devices.device.several_servers import ONE, Server, World

FILES = "coap://files.example"
ACCOUNT = ServerAccount(101, ONE)
PACKAGE = encode_package(FirmwarePackage("street_lamp", "2.0.0", bytes(range(256)) * 20))


def _world(**settings: Any) -> tuple[World, Server]:
    world = World([ACCOUNT], firmware=FirmwareSettings(**settings))
    (server,) = world.start(ONE)
    return world, server


def _push(server: Server, package: bytes, within_s: float = 3.0) -> str:
    request = Request(
        codes.PUT, ("5", "0", "0"), content_format=content_formats.OCTET_STREAM, payload=package
    )
    return codes.code_text(server.ask(request, within_s).code)


def _state(server: Server) -> tuple[int, int]:
    return int(server.read("/5/0/3")), int(server.read("/5/0/5"))


def _files(world: World, package: bytes = PACKAGE) -> Server:
    files = world.server(FILES)
    files.answer = lambda request: (
        Response(codes.CONTENT, package, content_formats.OCTET_STREAM)
        if request.path == ("lamp.bin",)
        else Response(codes.NOT_FOUND)
    )
    return files


def test_ets_751_the_firmware_object_is_idle_and_names_its_ways() -> None:
    _, server = _world()
    assert _state(server) == (0, 0)
    assert (server.read("/5/0/8/0"), server.read("/5/0/8/1")) == (b"0", b"1")
    assert server.read("/5/0/9") == b"2"


def test_ets_755_770_a_pushed_package_is_installed_and_reported_after_the_reboot() -> None:
    world, server = _world()
    assert _push(server, b"\0") == "2.04"
    assert _push(server, PACKAGE) == "2.04"
    assert _state(server) == (2, 0)
    assert (server.read("/5/0/6"), server.read("/5/0/7")) == (b"street_lamp", b"2.0.0")
    assert server.execute("/5/0/2") == "2.04"
    assert _state(server) == (3, 0)
    world.run(7)
    assert len(server.registers) == 2
    assert _state(server) == (0, 1)
    assert server.read("/3/0/3") == b"2.0.0"


def test_ets_756_771_a_package_is_fetched_from_where_the_uri_says() -> None:
    world, server = _world()
    files = _files(world)
    assert server.write("/5/0/1", "") == "2.04"
    assert server.write("/5/0/1", f"{FILES}/lamp.bin") == "2.04"
    world.run(3)
    assert _state(server) == (2, 0)
    assert len(files.requests) >= 1
    assert server.write("/5/0/1", f"{FILES}/other.bin") == "4.05"
    assert server.read("/5/0/1").decode() == f"{FILES}/lamp.bin"
    assert server.write("/5/0/1", "") == "2.04"
    assert _state(server) == (0, 0)


def test_ets_760_the_state_is_observed_while_a_package_is_pushed() -> None:
    _, server = _world(verify_s=1.0)
    server.ask(Request(codes.GET, ("5", "0", "3"), accept=content_formats.TEXT, observe=0))
    before = len(server.responses)
    _push(server, PACKAGE, 5.0)
    told = [each.payload for each in server.responses[before:] if each.observe is not None]
    assert told == [b"1", b"2"]


def test_ets_772_an_update_without_a_package_is_refused() -> None:
    _, server = _world()
    assert server.execute("/5/0/2") == "4.05"
    assert _state(server) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "package", "result"),
    [
        ({"flash_bytes_max": 100}, PACKAGE, 2),
        ({"ram_bytes_max": 100}, PACKAGE, 3),
        ({}, PACKAGE[:-1], 5),
        ({}, b"something else", 6),
        ({"package_name": "water_meter"}, PACKAGE, 6),
    ],
)
def test_ets_773_774_776_777_a_package_that_is_no_good_has_its_result(
    settings: dict[str, Any], package: bytes, result: int
) -> None:
    _, server = _world(**settings)
    assert _push(server, package) == "2.04"
    assert _state(server) == (0, result)


def test_ets_775_a_link_that_breaks_is_waited_for_and_the_download_goes_on() -> None:
    world, server = _world(attempts=2, attempt_pause_s=5.0)
    _files(world)
    world.take_away(FILES)
    server.write("/5/0/1", f"{FILES}/lamp.bin")
    world.run(60)
    assert _state(server) == (1, 0)
    world.run(200)
    assert _state(server) == (0, 4)


def test_ets_778_a_uri_that_leads_nowhere_has_result_7() -> None:
    world, server = _world()
    _files(world)
    server.write("/5/0/1", f"{FILES}/missing.bin")
    world.run(2)
    assert _state(server) == (0, 7)


def test_ets_779_a_failed_installation_keeps_version_and_package() -> None:
    world, server = _world(fault="update_failed")
    version = server.read("/3/0/3")
    _push(server, PACKAGE)
    server.execute("/5/0/2")
    world.run(6)
    assert _state(server) == (2, 8)
    assert server.read("/3/0/3") == version
    assert len(server.registers) == 1


def test_a_cancelled_download_asks_for_nothing_more() -> None:
    world, server = _world()
    files = world.server(FILES)
    files.answer = lambda request: None
    server.write("/5/0/1", f"{FILES}/lamp.bin")
    assert server.execute("/5/0/10") == "2.04"
    assert _state(server) == (0, 10)
    world.run(200)
    assert _state(server) == (0, 10)


def test_a_device_without_firmware_settings_has_no_such_object() -> None:
    world = World([ACCOUNT])
    (server,) = world.start(ONE)
    assert codes.code_text(server.ask(Request(codes.GET, ("5", "0"))).code) == "4.04"
