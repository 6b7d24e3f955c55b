"""LwM2M Send: taken, told, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Value
from contracts.journal import DatagramRefused
from harness.lwm2m_server.config import ServerLimits
from lwm2m.coap import Request, codes
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World

NODES = [Node(ObjectPath(3, 0, 9), 80), Node(ObjectPath(3416, 0, 1), 40)]
VALUES = [Value("/3/0/9", "integer", 80), Value("/3416/0/1", "integer", 40)]
PACK = encode_payload(112, None, NODES, MODELS)


def onboarded(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world = World(tmp_path, **options)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    return world, bridge, device


@pytest.mark.parametrize("content_format", [110, 112, 11544])
def test_what_a_device_sends_is_an_event_with_its_values(
    tmp_path: Path, content_format: int
) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.report(encode_payload(content_format, None, NODES, MODELS), content_format)
    world.run_for(1)
    assert device.responses[-1].code == codes.CHANGED
    (event,) = bridge.events("send")
    assert event.values == VALUES
    assert (event.endpoint, event.registration_id) == ("lamp-1", device.location[1])


def test_history_comes_with_its_times(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.report(
        b'[{"bn":"/3/0/9","bt":1780000000,"v":80},{"t":-60.5,"v":81}]', content_formats.SENML_JSON
    )
    world.run_for(1)
    (event,) = bridge.events("send")
    assert event.values == [
        Value("/3/0/9", "integer", 80, 1_780_000_000_000_000),
        Value("/3/0/9", "integer", 81, 1_779_999_939_500_000),
    ]


def test_the_values_of_secret_resources_are_left_out(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.update(links=b"</1/0>,</3/0>,</18830/0>")
    world.run_for(1)
    nodes = [Node(ObjectPath(18830, 0, 9), b"secret"), Node(ObjectPath(18830, 0, 1), "lamp-1")]
    device.report(encode_payload(112, None, nodes, MODELS))
    world.run_for(1)
    (event,) = bridge.events("send")
    assert event.values == [Value("/18830/0/1", "string", "lamp-1")]
    assert b"c2VjcmV0" not in world.log_bytes()


@pytest.mark.parametrize(
    ("payload", "content_format", "code", "reason"),
    [
        (b"\xff", 112, codes.BAD_REQUEST, "malformed_send"),
        (b"[{]", 110, codes.BAD_REQUEST, "malformed_send"),
        (PACK, 11542, codes.BAD_REQUEST, "send_format"),
        (PACK, None, codes.BAD_REQUEST, "send_format"),
        (
            encode_payload(112, None, [Node(ObjectPath(3303, 0, 5700), 20.5)], MODELS),
            112,
            codes.NOT_FOUND,
            "send_of_unknown_object",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_and_counted(
    tmp_path: Path, payload: bytes, content_format: Any, code: int, reason: str
) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.report(payload, content_format)
    world.run_for(1)
    assert device.responses[-1].code == code
    assert bridge.events("send") == []
    assert [record.reason for record in world.observed.of(DatagramRefused)] == [reason]


def test_who_is_not_registered_is_answered_not_found(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.deregister()
    world.run_for(1)
    device.report(PACK)
    world.run_for(1)
    assert device.responses[-1].code == codes.NOT_FOUND
    stranger = world.device("stranger")
    stranger.report(PACK)
    world.run_for(1)
    assert stranger.responses[-1].code == codes.NOT_FOUND
    assert bridge.events("send") == []
    assert world.core.counters()["refused_send_of_unknown_device"] == 2


@pytest.mark.parametrize(
    ("code", "path", "answer"),
    [
        (codes.GET, ("dp",), codes.METHOD_NOT_ALLOWED),
        (codes.POST, ("dp", "1"), codes.NOT_FOUND),
    ],
)
def test_only_a_post_to_dp_is_a_send(
    tmp_path: Path, code: int, path: tuple[str, ...], answer: int
) -> None:
    world, _, device = onboarded(tmp_path)
    device.send(Request(code, path))
    world.run_for(1)
    assert device.responses[-1].code == answer


def test_a_send_that_the_log_has_no_room_for_is_to_come_again_later(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path, limits=ServerLimits(notifications_kept_max=3))
    bridge.acknowledges = False
    for _ in range(5):
        device.report(PACK)
        world.run_for(1)
    refused = [one for one in device.responses if one.code == codes.SERVICE_UNAVAILABLE]
    assert refused
    assert refused[0].options == ((14, b"\x3c"),)
    bridge.acknowledges = True
    world.run_for(1)
    device.report(PACK)
    world.run_for(1)
    assert device.responses[-1].code == codes.CHANGED


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([110, 112, 11544, 0, None]))
def test_any_payload_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, content_format: Any
) -> None:
    world, _, device = onboarded(tmp_path_factory.mktemp("send"))
    device.report(payload, content_format)
    world.run_for(1)
    assert device.responses[-1].code in (codes.CHANGED, codes.BAD_REQUEST, codes.NOT_FOUND)
