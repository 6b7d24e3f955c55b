"""Devices whose objects lie under a path of their own (`rt="oma.lwm2m"`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.data_interface import ObjectLink, Value
from harness.lwm2m_server.alternate_path import add_root, strip_root
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import Node, decode_payload, encode_payload, senml_cbor
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World

LINKS = b'</lwm2m>;rt="oma.lwm2m";ct=112,</lwm2m/1/0>,</lwm2m/3/0>,</lwm2m/3416/0>'
LEVEL = Node(ObjectPath(3, 0, 9), 80)


def onboarded(tmp_path: Path) -> tuple[World, Bridge, Device]:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register(links=LINKS)
    world.run_for(1)
    return world, bridge, device


def prefixed(base: ObjectPath | None, nodes: list[Node]) -> bytes:
    return add_root("/lwm2m", 112, encode_payload(112, base, nodes, MODELS))


def names(payload: bytes) -> list[str]:
    return [record.name for record in senml_cbor.resolve(payload, None)]


def test_requests_and_names_carry_the_path_and_values_do_not(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)

    def answer(request: Request) -> Response:
        if request.code == codes.GET:
            return Response(codes.CONTENT, prefixed(ObjectPath(3, 0), [LEVEL]), 112)
        return Response(codes.CHANGED)

    device.answer = answer
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0"))
    bridge.send(world.command("w1", "lamp-1"))
    world.run_for(1)
    read, write = device.requests
    assert read.path == ("lwm2m", "3", "0")
    assert bridge.outcomes()["r1"].values == [Value("/3/0/9", "integer", 80)]
    assert write.path == ("lwm2m", "3416", "0", "1")
    assert names(write.payload) == ["/lwm2m/3416/0/1"]


def test_tlv_begins_at_the_object(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("w1", "lamp-1", format=11542))
    world.run_for(1)
    (write,) = device.requests
    assert write.path == ("lwm2m", "3416", "0", "1")
    (node,) = decode_payload(11542, ObjectPath(3416, 0, 1), write.payload, MODELS)
    assert node == Node(ObjectPath(3416, 0, 1), 40)


def test_composite_requests_go_to_the_path_itself(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, prefixed(None, [LEVEL]), 112)
    bridge.send(world.command("r1", "lamp-1", "read_composite", None, paths=["/3/0/9"]))
    world.run_for(1)
    (request,) = device.requests
    assert (request.code, request.path) == (codes.FETCH, ("lwm2m",))
    assert [fields[0] for fields in senml_cbor.decode(request.payload)] == ["/lwm2m/3/0/9"]
    assert bridge.outcomes()["r1"].values == [Value("/3/0/9", "integer", 80)]


def test_discovered_links_are_object_paths(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"</lwm2m/3/0>;dim=2,</other>", 40)
    bridge.send(world.command("d1", "lamp-1", "discover", "/3/0"))
    world.run_for(1)
    links = [ObjectLink("/3/0", {"dim": "2"}), ObjectLink("/other")]
    assert bridge.outcomes()["d1"].links == links


def test_sends_carry_it_too(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.report(prefixed(None, [LEVEL]))
    world.run_for(1)
    assert bridge.events("send")[0].values == [Value("/3/0/9", "integer", 80)]


def test_the_path_is_known_after_a_restart(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    world.restart()
    bridge.connect()
    bridge.send(world.command("w1", "lamp-1"))
    world.run_for(1)
    assert device.requests[0].path == ("lwm2m", "3416", "0", "1")


def test_a_name_that_only_begins_alike_is_left_alone() -> None:
    payload = b'[{"bn":"/lwm2more/","n":"3/0/9","v":1}]'
    assert b"/lwm2more/3/0/9" in strip_root("/lwm2m", 110, payload)


@given(st.binary(max_size=60), st.sampled_from([110, 112, 320, 322, 11542, None]))
def test_any_payload_is_stripped_or_refused(payload: bytes, content_format: int | None) -> None:
    try:
        found = strip_root("/lwm2m", content_format, payload)
    except LwM2mError:
        return
    assert isinstance(found, bytes)


@pytest.mark.parametrize("content_format", [110, 112])
def test_what_was_added_is_stripped_again(content_format: int) -> None:
    nodes = [LEVEL, Node(ObjectPath(3, 0, 0), "Lamplighter"), Node(ObjectPath(3, 0, 11, 0), 0)]
    payload = encode_payload(content_format, ObjectPath(3, 0), nodes, MODELS)
    there = add_root("/lwm2m", content_format, payload)
    back = strip_root("/lwm2m", content_format, there)
    assert decode_payload(content_format, ObjectPath(3, 0), back, MODELS) == nodes
