"""Access control on a device with two servers: every operation and the right that it needs."""

import pytest

from lwm2m.coap import codes
from lwm2m.codecs import content_formats, encode_paths
from lwm2m.objects import ObjectPath

GET, PUT, POST, DELETE, FETCH, IPATCH = (
    codes.GET,
    codes.PUT,
    codes.POST,
    codes.DELETE,
    codes.FETCH,
    codes.IPATCH,
)
SENML, TEXT = content_formats.SENML_CBOR, content_formats.TEXT
READ, WRITE, EXECUTE, DELETES, CREATE = 1, 2, 4, 8, 16

SECOND_SERVER = {"/1/1/0": 2, "/1/1/1": 60, "/1/1/6": True, "/1/1/7": "U"}


def control(number, object_id, instance_id, owner, entries):
    base = f"/2/{number}"
    values = {f"{base}/0": object_id, f"{base}/1": instance_id, f"{base}/3": owner}
    return values | {f"{base}/2/{server}": bits for server, bits in entries.items()}


@pytest.fixture
def device(make_managed):
    """Server 1 owns /3/0 and /16/0; server 2 has what a test grants it."""

    def make(bits, create=0, version="1.2"):
        return make_managed(
            version,
            SECOND_SERVER
            | control(0, 3, 0, 1, {2: bits})
            | control(1, 16, 0, 1, {2: bits})
            | control(2, 16, 65535, 65535, {2: create})
            | control(3, 1, 1, 2, {}),
        )

    return make


OPERATIONS = [
    (READ, lambda device: device.code(GET, "/3/0/2", server=2)),
    (READ, lambda device: device.code(GET, "/3", server=2)),
    (READ, lambda device: device.code(GET, "/3/0", observe=0, server=2)),
    (READ, lambda device: device.code(PUT, "/3/0", "pmin=5", server=2)),
    (READ, lambda device: fetch(device, "/3/0/2")),
    (WRITE, lambda device: device.write(PUT, "/3/0/14", {"/3/0/14": "x"}, server=2)),
    (WRITE, lambda device: device.write(POST, "/3/0", {"/3/0/14": "x"}, server=2)),
    (WRITE, lambda device: device.write(IPATCH, "/", {"/3/0/14": "x"}, server=2)),
    (WRITE, lambda device: device.code(DELETE, "/16/0/0/1", server=2)),
    (EXECUTE, lambda device: device.code(POST, "/3/0/4", server=2)),
    (DELETES, lambda device: device.code(DELETE, "/16/0", server=2)),
    (CREATE, lambda device: device.write(POST, "/16", {"/16/1/0/0": "x"}, server=2)),
]


def fetch(device, *paths):
    payload = encode_paths(SENML, [ObjectPath.parse(each) for each in paths])
    return device.code(FETCH, "/", payload=payload, content_format=SENML, server=2)


@pytest.mark.parametrize(("right", "operation"), OPERATIONS)
def test_an_operation_needs_its_right_and_no_other(device, right, operation):
    without = device(31 - right, create=0)
    assert operation(without) == "4.01"
    only = device(right, create=CREATE if right == CREATE else 0)
    assert operation(only).startswith("2.")


def test_discover_needs_no_right(device):
    assert "/3/0/2" in device(0).links("/3", server=2)


def test_the_owner_without_an_entry_may_do_everything(device):
    found = device(0)
    assert found.code(GET, "/3/0/2", server=1) == "2.05"
    assert found.code(POST, "/3/0/4", server=1) == "2.04"
    assert found.code(DELETE, "/16/0", server=1) == "2.02"


def test_a_read_of_an_object_leaves_out_what_may_not_be_read(device):
    found = device(READ, create=CREATE)
    assert found.write(POST, "/16", {"/16/1/0/0": "mine"}, server=2) == "2.01"
    assert found.read("/16", server=1) == {"/16/0/0/0": "host", "/16/0/0/1": "maker"}
    assert found.read("/16/1", server=2) == {"/16/1/0/0": "mine"}
    assert found.code(GET, "/16/1", server=1) == "4.01"


def test_the_creator_becomes_owner_and_the_control_goes_with_the_instance(device):
    found = device(0, create=CREATE)
    assert found.write(POST, "/16", {"/16/1/0/0": "mine"}, server=2) == "2.01"
    control_values = found.read("/2/4", server=1)
    assert control_values == {"/2/4/0": 16, "/2/4/1": 1, "/2/4/3": 2}
    assert found.write(PUT, "/2/4/2/1", {"/2/4/2/1": READ}, server=1) == "4.01"
    assert found.write(PUT, "/2/4/2/1", {"/2/4/2/1": READ}, server=2) == "2.04"
    assert found.read("/16/1", server=1) == {"/16/1/0/0": "mine"}
    assert found.code(DELETE, "/16/1", server=2) == "2.02"
    assert found.code(GET, "/2/4", server=1) == "4.04"


def test_an_access_control_instance_is_neither_created_nor_deleted_by_servers(device):
    found = device(31)
    assert found.write(POST, "/2", {"/2/9/0": 3, "/2/9/1": 0, "/2/9/3": 2}, server=2) == "4.05"
    assert found.code(DELETE, "/2/0", server=1) == "4.05"


def test_a_composite_write_without_one_right_changes_nothing(device):
    found = device(READ)
    before = dict(found.tree)
    assert found.write(IPATCH, "/", {"/1/1/1": 99, "/3/0/14": "x"}, server=2) == "4.01"
    assert dict(found.tree) == before


def test_a_composite_read_leaves_out_what_may_not_be_read(device):
    found = device(0)
    payload = encode_paths(SENML, [ObjectPath(1, 1, 1), ObjectPath(3, 0, 2)])
    answer = found.ask(FETCH, "/", payload=payload, content_format=SENML, server=2).response
    assert found.values(answer) == {"/1/1/1": 60}


def test_a_right_that_is_taken_away_ends_the_observation(device):
    found = device(READ)
    assert found.code(GET, "/3/0/14", observe=0, server=2) == "2.05"
    assert found.write(PUT, "/2/0/2/2", {"/2/0/2/2": 0}, server=1) == "2.04"
    found.change("/3/0/14", "+05:00")
    assert [codes.code_text(each.response.code) for _, each in found.notified] == ["4.01"]
    assert found.observing.observations == 0


def test_with_a_single_server_rights_do_not_count(make_managed):
    found = make_managed(values=control(0, 3, 0, 9, {1: 0}))
    assert found.code(GET, "/3/0/2") == "2.05"
    assert found.write(POST, "/16", {"/16/1/0/0": "x"}) == "2.01"
    assert found.read("/2").keys() == {"/2/0/0", "/2/0/1", "/2/0/2/1", "/2/0/3"}
