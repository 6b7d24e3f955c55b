"""What the bootstrap server does to a device, and what it cannot (LwM2M Core §6.1.7)."""

import pytest

from lwm2m.coap import codes
from lwm2m.codecs import content_formats
from lwm2m.objects import ObjectLink, ObjectPath

GET, PUT, POST, DELETE = codes.GET, codes.PUT, codes.POST, codes.DELETE
TLV, SENML, LINKS = content_formats.TLV, content_formats.SENML_CBOR, content_formats.LINK_FORMAT
BOOTSTRAP = {"phase": "bootstrap", "server": None}

ACCOUNTS = {
    "/0/0/0": "coaps://bootstrap.example:5684",
    "/0/0/1": True,
    "/0/0/2": 0,
    "/0/0/17": ObjectLink(21, 0),
    "/21/0/0": b"kept",
    "/0/1/0": "coaps://server.example:5684",
    "/0/1/1": False,
    "/0/1/2": 0,
    "/0/1/5": b"secret",
    "/0/1/10": 101,
    "/0/1/17": ObjectLink(21, 1),
    "/21/1/0": b"gone",
    "/1/0/0": 101,
}


@pytest.fixture
def device(make_managed):
    return make_managed(values=ACCOUNTS)


def code(device, method, path, **options):
    return device.code(method, path, **BOOTSTRAP, **options)


def write(device, path, values, content_format=SENML):
    return device.write(PUT, path, values, content_format, **BOOTSTRAP)


def links(device, path):
    return device.links(path, **BOOTSTRAP)


def instances(device):
    return {str(each) for each in device.tree.instances}


def test_discover_tells_version_servers_and_addresses(device):
    found = links(device, "/")
    assert found["/"] == {"lwm2m": "1.1"}
    assert found["/0/0"] == {}
    assert found["/0/1"] == {"ssid": "101", "uri": "coaps://server.example:5684"}
    assert found["/1/0"] == {"ssid": "101"}
    assert (found["/21/0"], found["/21/1"]) == ({}, {"ssid": "101"})
    assert found["/3/0"] == {}
    assert found["/3"] == {"ver": "1.2"}
    assert found["/18830"] in ({}, {"ver": "1.0"})


def test_discover_of_one_object(device):
    assert list(links(device, "/0")) == ["/", "/0", "/0/0", "/0/1"] or list(
        links(device, "/0")
    ) == ["/", "/0/0", "/0/1"]
    assert code(device, GET, "/77", accept=LINKS) == "4.04"
    assert code(device, GET, "/3/0", accept=LINKS) == "4.00"
    assert code(device, GET, "/x", accept=LINKS) == "4.00"


def test_server_and_access_control_objects_are_read_and_no_others(device):
    found = device.read("/1", **BOOTSTRAP)
    assert found["/1/0/0"] == 101
    assert device.read("/1/0", TLV, **BOOTSTRAP)["/1/0/7"] == "U"
    assert device.read("/2", **BOOTSTRAP) == {}
    assert code(device, GET, "/1/9") == "4.04"
    for path in ("/0", "/0/1", "/3/0", "/1/0/1"):
        assert code(device, GET, path) == "4.05"
    assert code(device, GET, "/1", accept=7) == "4.06"


def test_a_device_of_1_0_reads_nothing_within_bootstrap(make_managed):
    assert code(make_managed("1.0"), GET, "/1") == "4.05"


@pytest.mark.parametrize("content_format", [SENML, TLV])
def test_a_whole_object_is_written(device, content_format):
    values = {"/0/2/0": "coap://x", "/0/2/1": False, "/0/3/0": "coap://y", "/0/3/1": False}
    assert write(device, "/0", values, content_format) == "2.04"
    assert {"/0/0", "/0/1", "/0/2", "/0/3"} <= instances(device)


def test_an_instance_is_written_whether_it_exists_or_not(device):
    assert write(device, "/1/5", {"/1/5/0": 102, "/1/5/1": 60}) == "2.04"
    assert write(device, "/1/5", {"/1/5/1": 90}) == "2.04"
    assert device.tree[ObjectPath(1, 5, 0)] == 102
    assert device.tree[ObjectPath(1, 5, 1)] == 90


def test_a_resource_is_written_even_if_no_server_may(device):
    assert write(device, "/0/1/5", {"/0/1/5": b"other"}) == "2.04"
    assert write(device, "/3/0/2", {"/3/0/2": "SN"}) == "2.04"
    assert write(device, "/2/0/2/101", {"/2/0/2/101": 15}) == "2.04"
    assert "/2/0" in instances(device)


def test_what_the_device_does_not_have_is_ignored(device):
    assert write(device, "/1/0", {"/1/0/1": 7, "/1/0/19": 5}) == "2.04"
    assert ObjectPath(1, 0, 19) not in device.tree
    assert device.tree[ObjectPath(1, 0, 1)] == 7


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/77/0", {"payload": b"\x80", "content_format": SENML}, "4.00"),
        ("/3303/0", {"payload": b"\x80", "content_format": SENML}, "4.00"),
        ("/1/0", {"payload": b"\x80"}, "4.00"),
        ("/1/0", {"payload": b"x", "content_format": 7}, "4.15"),
        ("/1/0", {"payload": b"\xff", "content_format": SENML}, "4.00"),
        ("/3/7", {"payload": b"\x80", "content_format": SENML}, "4.00"),
        ("/1/0/1", {"payload": b"x", "content_format": 0}, "4.00"),
        ("/3/0/4", {"payload": b"x", "content_format": 42}, "4.00"),
        ("/0/1/5/0", {"payload": b"x", "content_format": 42}, "4.00"),
        ("/2/0/2", {"payload": b"5", "content_format": 0}, "4.00"),
        ("/1", {"payload": b"\xc1\x01\x05", "content_format": TLV}, "4.00"),
    ],
)
def test_a_write_that_cannot_be_is_refused(device, path, options, expected):
    before = dict(device.tree)
    assert code(device, PUT, path, **options) == expected
    assert dict(device.tree) == before


def test_accounts_are_bounded(device):
    values = {f"/0/{number}/1": False for number in range(40)}
    assert write(device, "/0", values) == "5.03"


def test_delete_all_keeps_the_bootstrap_account_and_the_device(device):
    assert code(device, DELETE, "/") == "2.02"
    assert instances(device) == {"/0/0", "/21/0", "/3/0"}


def test_delete_of_an_object_or_an_instance(device):
    assert code(device, DELETE, "/0") == "2.02"
    assert {"/0/0", "/21/1"} <= instances(device)
    assert "/0/1" not in instances(device)
    assert code(device, DELETE, "/1/0") == "2.02"
    assert code(device, DELETE, "/16/0") == "2.02"
    for path in ("/0/0", "/21/0", "/3/0", "/3", "/3303", "/16/0/0", "/x"):
        assert code(device, DELETE, path) == "4.00"


def test_nothing_else_is_possible_within_bootstrap(device):
    for method, path in ((POST, "/3/0/4"), (POST, "/16"), (codes.FETCH, "/"), (PUT, "/")):
        assert code(device, method, path) == "4.05"
    assert device.code(GET, "/", "pct=112", accept=LINKS, **BOOTSTRAP) == "4.00"


def test_secrets_are_in_no_answer(device):
    for path in ("/", "/0"):
        served = device.ask(GET, path, accept=LINKS, **BOOTSTRAP)
        assert b"secret" not in served.response.payload
    assert device.write(PUT, "/0/1/5", {"/0/1/5": b"new"}, **BOOTSTRAP) == "2.04"
