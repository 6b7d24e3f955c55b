"""Every operation in every content format that it may have, to a device that decodes what it gets.

The device is a small one: it keeps values by path and answers in what Accept asks for.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from contracts.data_interface import ObjectLink, Value
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import (
    Node,
    content_formats,
    decode_composite_write,
    decode_paths,
    decode_payload,
    encode_payload,
)
from lwm2m.objects import NULL_ID, ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World

MANY = (110, 112, 11542, 11543, 11544)
SINGLE = (0, 60, *MANY)
OF_BYTES = (0, 42, 60, *MANY)
COMPOSITE = (110, 112, 11544)
COMPOSITE_WRITE = (110, 112, 320, 322, 11544)
REMOVING = (320, 322, 11544)
ANSWERED = {320: 110, 322: 112}
LINKS = b"</1/0>,</3/0>,</16/0>,</19/0>,</3416/0>"


class Store:
    """The device's side: values by path, and what it was asked."""

    def __init__(self) -> None:
        self.values: dict[ObjectPath, Any] = {
            ObjectPath(3, 0, 0): "Lamplighter",
            ObjectPath(3, 0, 9): 87,
            ObjectPath(3, 0, 13): 1_767_225_600,
            ObjectPath(3416, 0, 1): 40,
            ObjectPath(16, 0, 0, 0): "host",
            ObjectPath(16, 0, 0, 1): "maker",
            ObjectPath(19, 0, 0, 0): b"\x00\xff",
        }

    def answer(self, request: Request) -> Response:
        """Do what a request asks."""
        if request.code == codes.FETCH:
            return self._fetch(request)
        if request.code == codes.IPATCH:
            return self._patch(request)
        if request.code == codes.GET:
            if request.accept == 40:
                return Response(codes.CONTENT, b"</3/0>;pmin=10,</3/0/9>", 40)
            path = ObjectPath.of_segments(request.path)
            return self._content([path], path, request)
        return self._change(request, ObjectPath.of_segments(request.path))

    def _change(self, request: Request, path: ObjectPath) -> Response:
        if request.code == codes.DELETE:
            self._drop(path)
            return Response(codes.DELETED)
        if request.code == codes.POST and path.depth == 3:
            return Response(codes.CHANGED)
        if request.code == codes.PUT and request.query:
            return Response(codes.CHANGED)
        assert request.content_format is not None
        nodes = decode_payload(request.content_format, path, request.payload, MODELS)
        if request.code == codes.POST and path.depth == 1:
            return self._create(path, nodes)
        if request.code == codes.PUT:
            self._drop(path)
        self.values.update(nodes)
        return Response(codes.CHANGED)

    def _create(self, path: ObjectPath, nodes: list[Node]) -> Response:
        given = nodes[0].path.instance_id if nodes else NULL_ID
        instance = 7 if given == NULL_ID else given
        named = [Node(node.path._replace(instance_id=instance), node.value) for node in nodes]
        several = len({node.path.instance_id for node in nodes}) > 1
        self.values.update(nodes if several else named)
        where = () if several else (*path.segments, str(instance))
        return Response(codes.CREATED, location_path=where)

    def _drop(self, path: ObjectPath) -> None:
        self.values = {at: value for at, value in self.values.items() if not path.contains(at)}

    def _fetch(self, request: Request) -> Response:
        return self._content(decode_paths(request.content_format, request.payload), None, request)

    def _patch(self, request: Request) -> Response:
        for path, value in decode_composite_write(request.content_format, request.payload, MODELS):
            if value is None:
                del self.values[path]
            else:
                self.values[path] = value
        return Response(codes.CHANGED)

    def _content(
        self, paths: list[ObjectPath | None], base: ObjectPath | None, request: Request
    ) -> Response:
        nodes = [
            Node(at, value)
            for at, value in sorted(self.values.items())
            if any(path is None or path.contains(at) for path in paths)
        ]
        payload = encode_payload(request.accept, base, nodes, MODELS)
        observe = 1 if request.observe == 0 else None
        return Response(codes.CONTENT, payload, request.accept, observe=observe)


def onboarded(tmp_path: Path, version: str = "1.2") -> tuple[World, Bridge, Device, Store]:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    store = Store()
    device.answer = store.answer
    device.register(links=LINKS, version=version)
    world.run_for(1)
    return world, bridge, device, store


def outcome(world: World, bridge: Bridge, operation: Any, path: str | None, **fields: Any) -> Any:
    bridge.send(world.command("c1", "lamp-1", operation, path, **fields))
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.succeeded, found
    assert found.remark is None
    return found


MANUFACTURER = Value("/3/0/0", "string", "Lamplighter")
LEVEL = Value("/3/0/9", "integer", 87)
NOW = Value("/3/0/13", "time", 1_767_225_600)
IDENTITIES = [Value("/16/0/0/0", "string", "host"), Value("/16/0/0/1", "string", "maker")]
DATA = Value("/19/0/0/0", "opaque", "AP8=")


@pytest.mark.parametrize("content_format", MANY)
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/3", [MANUFACTURER, LEVEL, NOW]),
        ("/3/0", [MANUFACTURER, LEVEL, NOW]),
        ("/3/0/9", [LEVEL]),
        ("/16/0", IDENTITIES),
        ("/16/0/0", IDENTITIES),
        ("/16/0/0/1", IDENTITIES[1:]),
        ("/19/0", [DATA]),
    ],
)
@pytest.mark.parametrize("operation", ["read", "observe"])
def test_what_is_there_is_read_at_every_level(
    tmp_path: Path, operation: str, path: str, values: list[Value], content_format: int
) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    found = outcome(world, bridge, operation, path, format=content_format)
    assert found.values == values
    assert device.requests[0].accept == content_format


@pytest.mark.parametrize("content_format", SINGLE)
def test_one_value_is_read_and_written_in_the_formats_of_one(
    tmp_path: Path, content_format: int
) -> None:
    world, bridge, _, store = onboarded(tmp_path)
    value = Value("/3416/0/1", "integer", 55)
    outcome(world, bridge, "write", "/3416/0/1", values=[value], format=content_format)
    assert store.values[ObjectPath(3416, 0, 1)] == 55
    bridge.send(world.command("c2", "lamp-1", "read", "/3416/0/1", format=content_format))
    world.run_for(1)
    assert bridge.outcomes()["c2"].values == [value]


@pytest.mark.parametrize("content_format", OF_BYTES)
def test_opaque_values_go_in_every_format(tmp_path: Path, content_format: int) -> None:
    world, bridge, _, store = onboarded(tmp_path)
    value = Value("/19/0/0/0", "opaque", "AQID")
    outcome(world, bridge, "write", "/19/0/0/0", values=[value], format=content_format)
    assert store.values[ObjectPath(19, 0, 0, 0)] == b"\x01\x02\x03"


@pytest.mark.parametrize("content_format", MANY)
@pytest.mark.parametrize("mode", ["replace", "update"])
def test_an_instance_is_replaced_or_updated(tmp_path: Path, mode: str, content_format: int) -> None:
    world, bridge, device, store = onboarded(tmp_path)
    values = [Value("/3/0/0", "string", "Other"), Value("/3/0/15", "string", "Europe/Berlin")]
    outcome(world, bridge, "write", "/3/0", values=values, mode=mode, format=content_format)
    assert device.requests[0].code == (codes.PUT if mode == "replace" else codes.POST)
    assert store.values[ObjectPath(3, 0, 0)] == "Other"
    assert (ObjectPath(3, 0, 9) in store.values) is (mode == "update")


@pytest.mark.parametrize("content_format", MANY)
@pytest.mark.parametrize(
    ("path", "instance", "location"),
    [("/16", 3, "/16/3"), ("/16/3", 3, "/16/3"), ("/16", NULL_ID, "/16/7")],
)
def test_an_instance_is_created_with_and_without_id(
    tmp_path: Path, path: str, instance: int, location: str, content_format: int
) -> None:
    world, bridge, _, store = onboarded(tmp_path)
    values = [Value(f"/16/{instance}/0/0", "string", "new")]
    found = outcome(world, bridge, "create", path, values=values, format=content_format)
    assert found.location == location
    assert store.values[ObjectPath.parse(f"{location}/0/0")] == "new"


@pytest.mark.parametrize("content_format", MANY)
def test_several_instances_are_created_at_once(tmp_path: Path, content_format: int) -> None:
    world, bridge, _, store = onboarded(tmp_path)
    values = [Value(f"/16/{number}/0/0", "string", "new") for number in (3, 4)]
    assert outcome(world, bridge, "create", "/16", values=values, format=content_format).succeeded
    assert [store.values[ObjectPath.parse(each.path)] for each in values] == ["new", "new"]


@pytest.mark.parametrize(
    ("paths", "content_format"),
    [
        *itertools.product([["/3/0/9", "/16/0/0/1"], ["/3", "/19/0"]], COMPOSITE),
        # LwM2M CBOR has no form for the root: objects have to be named there.
        *itertools.product([["/"]], (110, 112)),
    ],
)
@pytest.mark.parametrize("operation", ["read_composite", "observe_composite"])
def test_several_paths_are_read_and_observed_at_once(
    tmp_path: Path, operation: str, paths: list[str], content_format: int
) -> None:
    world, bridge, device, store = onboarded(tmp_path)
    found = outcome(world, bridge, operation, None, paths=paths, format=content_format)
    wanted = [None if path == "/" else ObjectPath.parse(path) for path in paths]
    expected = [
        str(at)
        for at in sorted(store.values)
        if any(path is None or path.contains(at) for path in wanted)
    ]
    assert sorted(value.path for value in found.values) == sorted(expected)
    (request,) = device.requests
    assert (request.code, request.path) == (codes.FETCH, ())
    assert (request.content_format, request.accept) == (content_format, content_format)


@pytest.mark.parametrize("content_format", [320, 322])
def test_paths_in_an_etch_format_are_answered_in_senml(tmp_path: Path, content_format: int) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    paths = ["/3/0/9"]
    found = outcome(world, bridge, "read_composite", None, paths=paths, format=content_format)
    assert found.values == [LEVEL]
    assert device.requests[0].accept == ANSWERED[content_format]


@pytest.mark.parametrize("content_format", COMPOSITE_WRITE)
def test_several_instances_are_written_at_once(tmp_path: Path, content_format: int) -> None:
    world, bridge, device, store = onboarded(tmp_path)
    values = [Value("/3416/0/1", "integer", 60), Value("/16/0/0/1", "string", "other")]
    outcome(world, bridge, "write_composite", None, values=values, format=content_format)
    assert device.requests[0].content_format == content_format
    assert store.values[ObjectPath(3416, 0, 1)] == 60
    assert store.values[ObjectPath(16, 0, 0, 1)] == "other"
    assert store.values[ObjectPath(16, 0, 0, 0)] == "host"


@pytest.mark.parametrize("content_format", [None, *REMOVING])
def test_a_composite_write_removes_resource_instances(
    tmp_path: Path, content_format: int | None
) -> None:
    world, bridge, device, store = onboarded(tmp_path)
    values = [Value("/3416/0/1", "integer", 60)]
    fields = {"values": values, "paths": ["/16/0/0/1"], "format": content_format}
    outcome(world, bridge, "write_composite", None, **fields)
    assert ObjectPath(16, 0, 0, 1) not in store.values
    assert store.values[ObjectPath(3416, 0, 1)] == 60
    assert device.requests[0].content_format == (content_format or 322)


def test_a_composite_observation_is_notified_and_cancelled(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    paths = ["/3/0/9", "/16/0/0/1"]
    attributes = {"pmin": "1", "pmax": "60"}
    outcome(world, bridge, "observe_composite", None, paths=paths, attributes=attributes)
    assert device.requests[0].query == ("pmin=1", "pmax=60")
    nodes = [Node(ObjectPath(3, 0, 9), 86)]
    payload = encode_payload(112, None, nodes, MODELS)
    device.notify(Response(codes.CONTENT, payload, 112, observe=2))
    world.run_for(1)
    (event,) = bridge.events("notification")
    assert (event.path, event.paths) == (None, paths)
    assert event.values == [Value("/3/0/9", "integer", 86)]
    cancel = world.command("x1", "lamp-1", "cancel_observation", None, paths=paths[::-1])
    bridge.send(cancel)
    world.run_for(1)
    assert bridge.outcomes()["x1"].succeeded
    first, second = device.requests
    assert (second.code, second.observe, second.payload) == (codes.FETCH, 1, first.payload)
    (ended,) = bridge.events("observation_ended")
    assert (ended.paths, ended.ended) == (paths, "cancelled")


def test_history_in_a_notification_comes_with_its_times(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    outcome(world, bridge, "observe", "/3/0/9", format=110)
    payload = b'[{"bn":"/3/0/9","bt":1780000000,"v":87},{"t":-10,"v":88}]'
    device.notify(Response(codes.CONTENT, payload, 110, observe=2))
    world.run_for(1)
    assert bridge.events("notification")[0].values == [
        Value("/3/0/9", "integer", 87, 1_780_000_000_000_000),
        Value("/3/0/9", "integer", 88, 1_779_999_990_000_000),
    ]


@pytest.mark.parametrize(
    ("operation", "path", "fields", "expected"),
    [
        ("discover", "/3/0", {"depth": 2}, (codes.GET, ("3", "0"), ("depth=2",), b"")),
        (
            "write_attributes",
            "/3/0/9",
            {"attributes": {"pmin": "10", "gt": "-5.5", "pmax": ""}},
            (codes.PUT, ("3", "0", "9"), ("pmin=10", "gt=-5.5", "pmax"), b""),
        ),
        ("execute", "/3/0/4", {}, (codes.POST, ("3", "0", "4"), (), b"")),
        (
            "execute",
            "/3/0/4",
            {"arguments": "5,2='10.3',7"},
            (codes.POST, ("3", "0", "4"), (), b"5,2='10.3',7"),
        ),
        ("delete", "/16/0", {}, (codes.DELETE, ("16", "0"), (), b"")),
        ("delete", "/16/0/0/1", {}, (codes.DELETE, ("16", "0", "0", "1"), (), b"")),
    ],
)
def test_operations_without_values(
    tmp_path: Path, operation: str, path: str, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    found = outcome(world, bridge, operation, path, **fields)
    (request,) = device.requests
    assert (request.code, request.path, request.query, request.payload) == expected
    if operation == "discover":
        assert found.links == [ObjectLink("/3/0", {"pmin": "10"}), ObjectLink("/3/0/9")]


# ---- the format that the server chooses ----


@pytest.mark.parametrize(
    ("version", "announced", "chosen"),
    [
        ("1.0", "", 11542),
        ("1.0", "11543", 11543),
        ("1.1", "", 112),
        ("1.1", "110", 110),
        ("1.1", "11542 110", 110),
        ("1.1", "11542", 11542),
        ("1.1", "11544", 112),
        ("1.2", "", 112),
        ("1.2", "11544 110", 11544),
        ("1.2", "60", 112),
    ],
)
def test_the_server_chooses_a_format_that_the_device_takes(
    tmp_path: Path, version: str, announced: str, chosen: int
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.answer = Store().answer
    root = f'</>;ct="{announced}",'.encode() if announced else b""
    device.register(links=root + LINKS, version=version)
    world.run_for(1)
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0"))
    bridge.send(world.command("w1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["r1"].succeeded
    assert bridge.outcomes()["w1"].succeeded
    assert device.requests[0].accept == device.requests[1].content_format == chosen


def test_without_accept_whatever_comes_is_read(tmp_path: Path) -> None:
    # ETS int-237.
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"87", 0)
    found = outcome(world, bridge, "read", "/3/0/9", any_format=True)
    assert found.values == [LEVEL]
    assert device.requests[0].accept is None


def test_another_format_than_was_asked_by_name_is_done_but_no_success(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"87", 0)
    bridge.send(world.command("c1", "lamp-1", "read", "/3/0/9", format=112))
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.is_unreadable
    assert found.error.detail == "done, but answered in content format 0, not in 112 as asked"
    assert found.values == [LEVEL]


def test_another_format_than_the_server_chose_is_a_remark(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"87", 0)
    bridge.send(world.command("c1", "lamp-1", "read", "/3/0/9"))
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.succeeded
    assert found.remark == "answered in content format 0, not in 112 as asked"


def test_a_created_instance_that_nobody_names_is_a_remark(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CREATED)
    bridge.send(world.command("c1", "lamp-1", "create", "/16", values=[]))
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.succeeded
    assert "which instance" in found.remark
    assert device.requests[0].payload == b"\x80"


# ---- answers ----


@pytest.mark.parametrize(
    ("operation", "path", "code", "detail"),
    [
        ("read", "/3/0/9", codes.CHANGED, "2.04 is not an answer to read"),
        ("execute", "/3/0/4", codes.CONTENT, "2.05 is not an answer to execute"),
        ("delete", "/16/0", codes.CHANGED, "2.04 is not an answer to delete"),
    ],
)
def test_another_success_than_the_standards_is_neither_success_nor_refusal(
    tmp_path: Path, operation: str, path: str, code: int, detail: str
) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(code)
    bridge.send(world.command("c1", "lamp-1", operation, path))  # type: ignore[arg-type] # all are
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.is_unreadable
    assert found.error.detail == detail


@pytest.mark.parametrize(
    ("operation", "path", "code", "is_legal"),
    [
        ("read", "/3/0/9", codes.NOT_FOUND, True),
        ("read", "/3/0/9", codes.NOT_ACCEPTABLE, True),
        ("read", "/3/0/9", codes.BAD_OPTION, False),
        ("execute", "/3/0/4", codes.METHOD_NOT_ALLOWED, True),
        ("execute", "/3/0/4", codes.CONFLICT, False),
        ("delete", "/16/0", codes.UNSUPPORTED_CONTENT_FORMAT, False),
        ("discover", "/3", codes.NOT_ACCEPTABLE, False),
        ("read", "/3/0/9", codes.SERVICE_UNAVAILABLE, True),
    ],
)
def test_a_refusal_that_the_standard_does_not_know_says_so(
    tmp_path: Path, operation: str, path: str, code: int, is_legal: bool
) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    device.answer = lambda request: Response(code, b"no")
    bridge.send(world.command("c1", "lamp-1", operation, path))  # type: ignore[arg-type] # all are
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert (found.code, found.error.stage) == (codes.code_text(code), "coap")
    assert (found.error.detail == "no") is is_legal
    assert ("is not an answer to" in found.error.detail) is not is_legal


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("read_composite", {"paths": ["/3"]}),
        ("observe_composite", {"paths": ["/3"]}),
        ("write_composite", {"values": [Value("/3416/0/1", "integer", 1)]}),
    ],
)
def test_composite_operations_are_not_for_1_0(
    tmp_path: Path, operation: str, fields: dict[str, Any]
) -> None:
    world, bridge, device, _ = onboarded(tmp_path, version="1.0")
    bridge.send(world.command("c1", "lamp-1", operation, None, **fields))  # type: ignore[arg-type] # all are
    world.run_for(1)
    found = bridge.outcomes()["c1"]
    assert found.error.stage == "invalid"
    assert found.error.detail == f"{operation} is of LwM2M 1.1; the device has 1.0"
    assert device.requests == []


def test_formats_of_one_value_are_not_those_of_several(tmp_path: Path) -> None:
    assert set(OF_BYTES) - set(MANY) == content_formats.SINGLE_VALUE
    world, bridge, _, _ = onboarded(tmp_path)
    paths = ["/3"]
    bridge.send(world.command("c1", "lamp-1", "read_composite", None, paths=paths, format=11542))
    world.run_for(1)
    assert bridge.outcomes()["c1"].error.stage == "invalid"
