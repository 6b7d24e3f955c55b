"""Our device registers at Eclipse Leshan's server, which then does with it all that it can."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.cells import LESHAN_SERVER, LWM2M_CBOR, TLV, Cell
from tests.interop.fetch_leshan import VERSION
from tests.interop.leshan_peer import PeerRefused
from tests.interop.ours import LATITUDE, LIFETIME_S, LONGITUDE, SERIAL
from tests.interop.pairs import DeviceAtLeshan, Made
from tests.interop.processes import Line
from tests.interop.recording import recorded
from tests.interop.results import not_there_yet, peer_limit

pytestmark = [pytest.mark.leshan, pytest.mark.slow]

Told = list[Any]
Operation = Callable[[DeviceAtLeshan, int | None, Told], None]

MANUFACTURER = "Lamplighter Simulated Devices"
LIFETIME, LAMP, FADE = "/1/0/1", "/3416/0/1", "/3416/0/49"
BROKER_KEY = "/18830/0/8"
# Each write has a value of its own, so that none is mistaken for an earlier one.
_numbers = itertools.count(1)


def _read(
    pair: DeviceAtLeshan, path: str, content_format: int | None, told: Told
) -> dict[str, Any]:
    """What Leshan makes of our answer, by path."""
    answer = pair.ask("read", path=path, format=content_format)
    assert answer["code"] == "2.05", answer
    told += answer["values"]
    return {each[0]: each[2] for each in answer["values"]}


def _changed(answer: Line) -> None:
    assert answer["code"] == "2.04", answer


def _write(
    pair: DeviceAtLeshan, path: str, values: Told, content_format: int | None, **more: Any
) -> None:
    _changed(pair.ask("write", path=path, values=values, format=content_format, **more))


# ---- registration ----


def register(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """Leshan understood every parameter and link of our Register."""
    event = pair.registered
    assert (event["lifetime_s"], event["queue_mode"]) == (LIFETIME_S, False)
    assert event["lwm2m_version"] in ("1.1", "1.2")
    links = [link.partition(";")[0] for link in event["links"]]
    assert {"</>", "</1/0>", "</3/0>", "</3416/0>"} <= set(links)
    assert not {"</0/0>", "</21/0>"} & set(links)
    expected = {"none": "unsecure", "psk": "psk", "x509": "x509"}
    security = pair.endpoint.split("-")[1]
    assert expected[security] in event["identity"].lower()


def update(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """A written lifetime is told in an Update; what Execute of /1/0/8 sends is one too."""
    after = pair.leshan.lines_so_far
    wanted = 400 + next(_numbers)
    _write(pair, LIFETIME, [[LIFETIME, "integer", wanted]], TLV)
    pair.until_event("updated", after=after, lifetime_s=wanted)
    after = pair.leshan.lines_so_far
    _changed(pair.ask("execute", path="/1/0/8"))
    pair.until_event("updated", after=after)


def de_register(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """Disable (/1/0/4) makes our device de-register, and come back when its time is over."""
    after = pair.leshan.lines_so_far
    try:
        _write(pair, "/1/0/5", [["/1/0/5", "integer", 1]], TLV)
    except AssertionError as error:
        not_there_yet(f"the device has no /1/0/5 and /1/0/4 (Disable): {error}"[:120])
    try:
        answer = pair.ask("execute", path="/1/0/4")
    except PeerRefused as error:
        # Leshan cancels what is under way with a device that de-registers, also when the answer
        # has come and another of its threads has not got to it yet.
        if "RequestCanceledException" not in str(error):
            raise
    else:
        assert answer["code"] == "2.04"
    pair.until_event("deregistered", after=after, expired=False)
    pair.until_event("registered", after=after)


# ---- read, discover ----


def read_resource(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """A string, and of the other types one each."""
    assert _read(pair, "/3/0/0", content_format, told) == {"/3/0/0": MANUFACTURER}
    assert _read(pair, "/1/0/6", content_format, told) == {"/1/0/6": True}
    assert _read(pair, "/6/0/0", content_format, told) == {"/6/0/0": LATITUDE}
    assert _read(pair, "/1/0/0", content_format, told) == {"/1/0/0": 101}
    assert _read(pair, "/3/0/13", content_format, told)["/3/0/13"] > 1_700_000_000


def read_resource_instance(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """One of a multiple resource."""
    assert _read(pair, "/3/0/11/0", content_format, told) == {"/3/0/11/0": 0}


def read_multiple_resource(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """All of a multiple resource."""
    assert _read(pair, "/4/0/4", content_format, told).keys() == {"/4/0/4/0"}


def read_instance(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Values of many types at once."""
    found = _read(pair, "/6/0", content_format, told)
    assert (found["/6/0/0"], found["/6/0/1"]) == (LATITUDE, LONGITUDE)
    found = _read(pair, "/3/0", content_format, told)
    assert (found["/3/0/2"], found["/3/0/11/0"]) == (SERIAL, 0)


def read_object(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """All instances of an object."""
    found = _read(pair, "/3416", content_format, told)
    assert {"/3416/0/1", "/3416/0/3"} <= found.keys()


def read_opaque(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Bytes come back as they were written."""
    with _broker(pair):
        key = bytes(range(40)).hex()
        _write(pair, BROKER_KEY, [[BROKER_KEY, "opaque", key]], TLV)
        assert _read(pair, BROKER_KEY, content_format, told) == {BROKER_KEY: key}


def discover_object(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """The object with its version, its instance, resources with their dimension."""
    links = pair.ask("discover", path="/3")["links"]
    assert links[0].startswith("</3>;ver=")
    assert {"</3/0>", "</3/0/0>", "</3/0/4>"} <= set(links)


def discover_instance(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """The instance and its resources."""
    links = pair.ask("discover", path="/3/0")["links"]
    assert links[0].startswith("</3/0>")
    assert "</3/0/11>;dim=1" in links


def discover_resource(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """The resource."""
    links = pair.ask("discover", path="/3/0/11")["links"]
    assert links[0] == "</3/0/11>;dim=1"


# ---- write, execute, create, delete ----


def write_resource(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """An integer, a float and a string that the device then has."""
    level = next(_numbers) % 100
    told += [[LAMP, "integer", level], [FADE, "float", level + 0.25]]
    for triple in list(told):
        _write(pair, triple[0], [triple], content_format)
        assert _read(pair, triple[0], TLV, []) == {triple[0]: triple[2]}


def write_opaque(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Bytes, zero among them."""
    with _broker(pair):
        triple = [BROKER_KEY, "opaque", bytes([next(_numbers) % 256, 0, 255, 0]).hex()]
        told.append(triple)
        _write(pair, BROKER_KEY, [triple], content_format)
        assert _read(pair, BROKER_KEY, TLV, []) == {BROKER_KEY: triple[2]}


def write_instance_replace(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """What is not among the values is gone."""
    with _publication(pair):
        values = _publication_values(f"replaced-{next(_numbers)}")
        told += values
        _write(pair, "/18831/0", values, content_format)
        assert _read(pair, "/18831/0", TLV, []) == {each[0]: each[2] for each in values}


def write_instance_update(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """What is not among the values stays."""
    with _publication(pair):
        values: list[Told] = [
            ["/18831/0/2", "string", f"updated-{next(_numbers)}"],
            ["/18831/0/4", "boolean", True],
        ]
        told += values
        _write(pair, "/18831/0", values, content_format, mode="update")
        found = _read(pair, "/18831/0", TLV, [])
        assert (found["/18831/0/2"], found["/18831/0/4"]) == (values[0][2], True)
        assert found["/18831/0/1"] == "18830:0"


def write_attributes(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """Discover then shows them; without a value they are gone."""
    answer = pair.ask("write_attributes", path=LAMP, attributes="pmin=1&pmax=60&st=2")
    if answer["code"] == "5.01":
        not_there_yet("Write-Attributes on the device is answered 5.01")
    _changed(answer)
    link = pair.ask("discover", path=LAMP)["links"][0]
    assert {"pmin=1", "pmax=60"} <= set(link.split(";")), link
    _changed(pair.ask("write_attributes", path=LAMP, attributes="pmin&pmax&st"))
    assert "pmin" not in pair.ask("discover", path=LAMP)["links"][0]


def execute(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """The update trigger; Execute of what cannot be executed is refused."""
    after = pair.leshan.lines_so_far
    _changed(pair.ask("execute", path="/1/0/8"))
    pair.until_event("updated", after=after)
    assert pair.ask("execute", path="/3/0/0")["code"] == "4.05"


def execute_with_arguments(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """Leshan's way to write them is understood."""
    _changed(pair.ask("execute", path="/1/0/8", arguments="0"))
    _changed(pair.ask("execute", path="/1/0/8", arguments="0='U'"))


def create(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """An instance with values of five types; the new id comes back or was given."""
    values = _publication_values(f"created-{next(_numbers)}")
    told += values
    answer = pair.ask("create", path="/18831/0", values=values, format=content_format)
    assert answer["code"] == "2.01", answer
    try:
        assert _read(pair, "/18831/0", TLV, []) == {each[0]: each[2] for each in values}
    finally:
        pair.ask("delete", path="/18831/0")


def delete(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """The instance is gone; the Device object stays."""
    with _publication(pair):
        assert pair.ask("delete", path="/18831/0")["code"] == "2.02"
        assert pair.ask("read", path="/18831/0")["code"] == "4.04"
    assert pair.ask("delete", path="/3/0")["code"] == "4.05"


# ---- information reporting ----


def observe_resource(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """The present value, and then a changed one by itself."""
    _observed(pair, LAMP, content_format, told)
    _end_observation(pair, LAMP)


def observe_instance(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Likewise, of a whole instance."""
    _observed(pair, "/3416/0", content_format, told)
    _end_observation(pair, "/3416/0")


def cancel_actively(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """GET with Observe 1: no notification follows."""
    _observed(pair, LAMP, None, told)
    _end_observation(pair, LAMP)
    _changes_unheard(pair)


def cancel_by_reset(pair: DeviceAtLeshan, _: int | None, told: Told) -> None:
    """Leshan forgets, and answers the next notification with a reset: it is the last."""
    _observed(pair, LAMP, None, told)
    pair.ask("forget_observations")
    _changes_unheard(pair)


def observe_composite(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Several paths at once, and what changed of them."""
    paths = ["/3/0/0", LAMP]
    answer = pair.ask("observe_composite", paths=paths, format=content_format)
    assert answer["code"] == "2.05", answer
    assert {each[0] for each in answer["values"]} == set(paths)
    after, level = pair.leshan.lines_so_far, _other_level(pair)
    _write(pair, LAMP, [[LAMP, "integer", level]], TLV)
    _until_notified(pair, "composite_notification", None, level, after, told)
    assert pair.ask("cancel_observe_composite")["code"] == "2.05"


def _observed(pair: DeviceAtLeshan, path: str, content_format: int | None, told: Told) -> None:
    answer = pair.ask("observe", path=path, format=content_format)
    assert answer["code"] == "2.05", answer
    after, level = pair.leshan.lines_so_far, _other_level(pair)
    _write(pair, LAMP, [[LAMP, "integer", level]], TLV)
    _until_notified(pair, "notification", path, level, after, told)


def _until_notified(
    pair: DeviceAtLeshan, kind: str, path: str | None, level: int, after: int, told: Told
) -> None:
    event = pair.leshan.process.until_object(
        lambda line: (
            line.get("event") == kind
            and line["endpoint"] == pair.endpoint
            and [LAMP, "integer", level] in line["values"]
        ),
        after=after,
    )
    told += event["values"]


def _end_observation(pair: DeviceAtLeshan, path: str) -> None:
    answer = pair.ask("cancel_observation", path=path)
    assert answer["code"] == "2.05", answer


def _changes_unheard(pair: DeviceAtLeshan) -> None:
    """A change, then another exchange that comes after anything the change would have caused."""
    _write(pair, LAMP, [[LAMP, "integer", _other_level(pair)]], TLV)
    after = pair.leshan.lines_so_far
    _write(pair, LAMP, [[LAMP, "integer", _other_level(pair)]], TLV)
    _read(pair, LAMP, TLV, [])
    late = [line for line in pair.leshan.process.lines[after:] if '"notification"' in line]
    assert not late


def _other_level(pair: DeviceAtLeshan) -> int:
    level: int = _read(pair, LAMP, TLV, [])[LAMP]
    return (level + 7) % 100


# ---- composites, Send ----


def read_composite(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Resources and an instance of different objects; what is missing is left out."""
    paths = ["/3/0/0", "/1/0/1", "/6/0", "/3/0/9999"]
    answer = pair.ask("read_composite", paths=paths, format=content_format)
    assert answer["code"] == "2.05", answer
    told += answer["values"]
    found = {each[0]: each[2] for each in answer["values"]}
    assert (found["/3/0/0"], found["/6/0/0"]) == (MANUFACTURER, LATITUDE)


def write_composite(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Two objects at once."""
    number = next(_numbers)
    values: list[Told] = [[LAMP, "integer", number % 100], ["/3419/0/1", "float", number + 0.5]]
    told += values
    _changed(pair.ask("write_composite", values=values, format=content_format))
    for triple in values:
        assert _read(pair, triple[0], TLV, []) == {triple[0]: triple[2]}


def send(pair: DeviceAtLeshan, content_format: int | None, told: Told) -> None:
    """Our device sends without being asked, once Leshan has unmuted it (/1/0/23)."""
    after = pair.leshan.lines_so_far
    _write(pair, "/1/0/23", [["/1/0/23", "boolean", False]], TLV)
    event = pair.until_event("send", after=after, format=content_format)
    _write(pair, "/1/0/23", [["/1/0/23", "boolean", True]], TLV)
    told += event["values"]
    assert ["/3/0/0", "string", MANUFACTURER] in event["values"]


# ---- objects that can be created ----


class _broker:  # noqa: N801 - a context manager, used like a function
    """/18830/0 for as long as it is needed."""

    def __init__(self, pair: DeviceAtLeshan) -> None:
        self._pair = pair

    def __enter__(self) -> None:
        values = [
            ["/18830/0/0", "string", "mqtts://127.0.0.1:8883"],
            ["/18830/0/1", "string", self._pair.endpoint],
            ["/18830/0/2", "boolean", False],
            ["/18830/0/3", "unsigned", "60"],
            ["/18830/0/6", "integer", 3],
        ]
        answer = self._pair.ask("create", path="/18830/0", values=values, format=TLV)
        assert answer["code"] == "2.01", answer

    def __exit__(self, *_: object) -> None:
        self._pair.ask("delete", path="/18830/0")


class _publication:  # noqa: N801 - likewise
    """/18831/0 for as long as it is needed."""

    def __init__(self, pair: DeviceAtLeshan) -> None:
        self._pair = pair

    def __enter__(self) -> None:
        values = _publication_values("first")
        answer = self._pair.ask("create", path="/18831/0", values=values, format=TLV)
        assert answer["code"] == "2.01", answer

    def __exit__(self, *_: object) -> None:
        self._pair.ask("delete", path="/18831/0")


def _publication_values(topic: str) -> Told:
    # Without *active*: the device must not try to connect.
    return [
        ["/18831/0/0", "corelnk", "</3416/0>"],
        ["/18831/0/1", "objlnk", "18830:0"],
        ["/18831/0/2", "string", topic],
        ["/18831/0/3", "unsigned", "1"],
        ["/18831/0/4", "boolean", False],
    ]


OPERATIONS: dict[str, Operation] = {
    "register": register,
    "update": update,
    "de-register": de_register,
    "read resource": read_resource,
    "read resource instance": read_resource_instance,
    "read multiple resource": read_multiple_resource,
    "read instance": read_instance,
    "read object": read_object,
    "read opaque": read_opaque,
    "discover object": discover_object,
    "discover instance": discover_instance,
    "discover resource": discover_resource,
    "write resource": write_resource,
    "write opaque": write_opaque,
    "write instance, replace": write_instance_replace,
    "write instance, update": write_instance_update,
    "write attributes": write_attributes,
    "execute": execute,
    "execute with arguments": execute_with_arguments,
    "create": create,
    "delete": delete,
    "observe resource, notified": observe_resource,
    "observe instance, notified": observe_instance,
    "cancel observation, active": cancel_actively,
    "cancel observation, by reset": cancel_by_reset,
    "read composite": read_composite,
    "write composite": write_composite,
    "observe composite, notified": observe_composite,
    "send": send,
}


@pytest.mark.parametrize("cell", LESHAN_SERVER, ids=lambda cell: cell.name)
def test_our_device_and_leshans_server_agree(
    cell: Cell, devices_at_leshan: Made[DeviceAtLeshan]
) -> None:
    pair = devices_at_leshan(cell.security)
    name = f"{cell.operation} {cell.format_name}".strip()
    whole = cell.operation == "register"
    if cell.content_format == LWM2M_CBOR:
        _expect_no_lwm2m_cbor(pair)
    with recorded(
        pair.tape, peer="leshan", version=VERSION, role="server", name=name, whole=whole
    ) as told:
        try:
            OPERATIONS[cell.operation](pair, cell.content_format, told)
        except AssertionError:
            # What was observed would be told in the next cells too.
            pair.ask("forget_observations")
            raise


def _expect_no_lwm2m_cbor(pair: DeviceAtLeshan) -> None:
    """Leshan speaks LwM2M 1.1 and has no LwM2M CBOR; the day it has, this fails."""
    with pytest.raises(PeerRefused) as refusal:
        _write(pair, LAMP, [[LAMP, "integer", 1]], LWM2M_CBOR)
    peer_limit(str(refusal.value))
