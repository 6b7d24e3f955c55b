"""Every device management operation, at every level, in every format, and what refuses it."""

import itertools

import pytest

from fake_devices.device.downlink import serve
from fake_devices.device.downlink_read import speaks
from lwm2m.coap import Request, codes
from lwm2m.codecs import (
    SUPPORTED,
    content_formats,
    tlv,
)
from lwm2m.objects import ObjectLink, ObjectPath, ValueType

GET, PUT, POST, DELETE, FETCH, IPATCH = (
    codes.GET,
    codes.PUT,
    codes.POST,
    codes.DELETE,
    codes.FETCH,
    codes.IPATCH,
)
TEXT, TLV, SENML = content_formats.TEXT, content_formats.TLV, content_formats.SENML_CBOR
MANY = sorted(SUPPORTED - content_formats.SINGLE_VALUE)
SINGLE = sorted(content_formats.SINGLE_VALUE - {content_formats.OCTET_STREAM})


# ---- formats by level ----


@pytest.mark.parametrize("content_format", MANY)
@pytest.mark.parametrize("path", ["/3", "/3/0", "/3/0/2", "/3/0/7", "/3/0/7/1", "/16", "/16/0"])
def test_a_format_of_many_values_is_read_at_every_level(managed12, path, content_format):
    found = managed12.read(path, content_format)
    base = ObjectPath.parse(path)
    expected = {
        str(each): managed12.tree[each]
        for each in managed12.tree
        if base.contains(each) and each[:3] != (3, 0, 4)
    }
    assert found == expected


@pytest.mark.parametrize("content_format", SINGLE)
@pytest.mark.parametrize("path", ["/3/0/2", "/3/0/13", "/3/0/7/1", "/1/0/6"])
def test_a_format_of_one_value_is_read_at_resource_and_resource_instance(
    managed12, path, content_format
):
    assert managed12.read(path, content_format) == {path: managed12.tree[ObjectPath.parse(path)]}


@pytest.mark.parametrize("content_format", sorted(content_formats.SINGLE_VALUE))
@pytest.mark.parametrize("path", ["/3", "/3/0", "/3/0/7"])
def test_a_format_of_one_value_cannot_hold_many(managed12, path, content_format):
    assert managed12.code(GET, path, accept=content_format) == "4.06"


def test_a_text_is_no_octet_stream(managed):
    assert managed.code(GET, "/3/0/2", accept=content_formats.OCTET_STREAM) == "4.06"


@pytest.mark.parametrize("content_format", MANY)
@pytest.mark.parametrize(("code", "path"), [(POST, "/1/0"), (PUT, "/1/0/2"), (POST, "/16/0/0")])
def test_a_format_of_many_values_is_written(managed12, code, path, content_format):
    values = {"/16/0/0/3": "more"} if path.startswith("/16") else {"/1/0/2": 77}
    assert managed12.write(code, path, values, content_format) == "2.04"
    assert managed12.read(path).items() >= values.items()


@pytest.mark.parametrize("content_format", MANY)
def test_an_instance_is_created_in_every_format(managed12, content_format):
    assert managed12.write(POST, "/16", {"/16/4/0/0": "new"}, content_format) == "2.01"
    assert managed12.read("/16/4") == {"/16/4/0/0": "new"}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_device_speaks_the_formats_of_its_version(make_managed, version):
    device = make_managed(version)
    spoken = {number for number in SUPPORTED if speaks(device.tree, number)}
    assert {TEXT, content_formats.OCTET_STREAM, TLV} <= spoken
    assert (SENML in spoken) is (content_formats.CBOR in spoken) is (version != "1.0")
    assert content_formats.LWM2M_CBOR not in spoken or version == "1.2"
    default = device.ask(GET, "/3/0").response.content_format
    assert default == (TLV if version == "1.0" else SENML)
    assert device.code(PUT, "/1/0/2", payload=b"\x05", content_format=60) == (
        "4.15" if version == "1.0" else "2.04"
    )


def test_legacy_numbers_are_read_as_what_they_mean(managed):
    assert managed.ask(GET, "/3/0/2", accept=1541).response.payload == b"345000123"


# ---- read ----


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "4.05"),
        ("/3/0/11/0/0", "4.05"),
        ("/3/0/2/0", "4.05"),
        ("/x", "4.04"),
        ("/03", "4.04"),
        ("/77", "4.04"),
        ("/3/1", "4.04"),
        ("/3/0/9999", "4.04"),
        ("/3/0/10", "4.04"),
        ("/3/0/11/5", "4.04"),
        ("/3/0/4", "4.05"),
        ("/23", "4.01"),
        ("/21/0/1", "4.01"),
    ],
)
def test_a_read_of_what_is_not_there_is_refused(managed, path, expected):
    assert managed.code(GET, path) == expected


def test_an_object_without_instances_is_read_as_nothing(managed):
    assert managed.read("/18830") == {}
    assert managed.read("/18830", TLV) == {}


def test_a_multiple_resource_without_instances_is_read_as_nothing(managed):
    managed.tree.remove([ObjectPath(3, 0, 11, 0)])
    assert managed.read("/3/0/11") == {}
    assert managed.code(GET, "/3/0/11/0") == "4.04"
    assert managed.links("/3/0/11")["/3/0/11"] == {"dim": "0"}


@pytest.mark.parametrize(
    ("code", "path"),
    [(GET, "/3"), (POST, "/3/0/4"), (DELETE, "/16/0"), (POST, "/16"), (GET, "/3/0/2")],
)
def test_unknown_query_parameters_are_refused(managed, code, path):
    before = dict(managed.tree)
    assert managed.code(code, path, "what=ever", content_format=SENML) == "4.00"
    assert dict(managed.tree) == before


def test_patch_means_nothing_here(managed):
    assert managed.code(codes.PATCH, "/3/0") == "4.05"


# ---- discover ----


@pytest.mark.parametrize(
    ("version", "path", "query", "expected"),
    [
        ("1.1", "/3", ("depth=1",), "4.00"),
        ("1.2", "/3", ("depth=4",), "4.00"),
        ("1.2", "/3", ("depth=1", "depth=2"), "4.00"),
        ("1.2", "/3", ("pmin=1",), "4.00"),
        ("1.1", "/3/0/11/0", (), "4.05"),
        ("1.1", "/3/0/10", (), "4.04"),
        ("1.1", "/3/7", (), "4.04"),
        ("1.1", "/", (), "4.05"),
    ],
)
def test_a_discover_that_cannot_be_is_refused(make_managed, version, path, query, expected):
    assert make_managed(version).code(GET, path, *query, accept=40) == expected


def test_a_device_of_1_0_lists_no_resource_instances(make_managed):
    assert list(make_managed("1.0").links("/3/0/7")) == ["/3/0/7"]


def test_an_object_without_instances_is_discovered_alone(managed):
    assert list(managed.links("/18830")) == ["/18830"]


def test_executables_are_listed_in_order(managed):
    links = list(managed.links("/3/0"))
    assert links[:6] == ["/3/0", "/3/0/0", "/3/0/1", "/3/0/2", "/3/0/3", "/3/0/4"]


# ---- write ----


@pytest.mark.parametrize(
    ("code", "path", "values", "expected"),
    [
        (PUT, "/3", {"/3/0/14": "x"}, "4.05"),
        (PUT, "/3/0/2", {"/3/0/2": "x"}, "4.05"),
        (POST, "/3/0", {"/3/0/2": "x"}, "4.05"),
        (PUT, "/1/0/26", {"/1/0/26": 7}, "4.00"),
        (PUT, "/1/0/26", {"/1/0/26": 1}, "2.04"),
        (PUT, "/1/0/19", {"/1/0/19": 1}, "4.04"),
        (POST, "/1/0", {"/1/0/19": 1}, "4.00"),
        (POST, "/1/0", {"/1/0/999": 1}, "4.00"),
        (PUT, "/1/0", {"/1/0/1": 5}, "4.00"),
        (PUT, "/16/0/0", {}, "2.04"),
        (PUT, "/1/0/1", {}, "4.00"),
        (POST, "/16/0/0/0", {"/16/0/0/0": "x"}, "4.05"),
        (POST, "/1/0/1", {"/1/0/1": 5}, "4.05"),
        (PUT, "/16/0/0/9", {"/16/0/0/9": "new"}, "2.04"),
    ],
)
def test_a_write_is_answered_as_the_standard_says(managed, code, path, values, expected):
    before = dict(managed.tree)
    assert managed.write(code, path, values, TLV if not values else SENML) == expected
    assert expected == "2.04" or dict(managed.tree) == before


def test_a_write_without_format_or_with_a_query_is_refused(managed):
    assert managed.code(PUT, "/1/0/1", payload=b"5") == "4.00"
    assert managed.code(PUT, "/1/0/1", "pmin=5", payload=b"5", content_format=TEXT) == "4.00"
    assert managed.code(PUT, "/1/0/1", payload=b"x", content_format=TEXT) == "4.00"
    assert managed.code(PUT, "/1/0/1", payload=b"5", content_format=TEXT) == "2.04"


def test_a_replacement_of_a_multiple_resource_removes_what_it_does_not_name(managed):
    assert managed.write(PUT, "/16/0/0", {"/16/0/0/5": "five"}) == "2.04"
    assert managed.read("/16/0") == {"/16/0/0/5": "five"}
    assert managed.write(POST, "/16/0/0", {"/16/0/0/1": "one"}) == "2.04"
    assert managed.read("/16/0") == {"/16/0/0/1": "one", "/16/0/0/5": "five"}


def test_an_empty_payload_replaces_no_single_value(managed):
    assert managed.code(PUT, "/1/0/1", payload=b"", content_format=TLV) == "4.00"


def test_a_value_that_was_replaced_away_can_be_written_again(managed):
    whole = {"/1/0/1": 1, "/1/0/6": True, "/1/0/7": "U"}
    assert managed.write(PUT, "/1/0", whole) == "2.04"
    assert managed.code(GET, "/1/0/2") == "4.04"
    assert managed.write(PUT, "/1/0/2", {"/1/0/2": 9}) == "2.04"


# ---- write-attributes ----


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/3", ("pmin=1",), "2.04"),
        ("/3/0", ("pmin=1", "pmax=0"), "2.04"),
        ("/3/0/9", ("gt=50", "lt=20", "st=5"), "2.04"),
        ("/3/0/9", ("gt=50", "lt=60"), "4.00"),
        ("/3/0/9", ("gt=50", "lt=40", "st=5"), "4.00"),
        ("/3/0/2", ("gt=50",), "4.00"),
        ("/3/0", ("gt=50",), "4.00"),
        ("/3/0", ("edge=1",), "4.00"),
        ("/3/0", ("epmin=5", "epmax=5"), "4.00"),
        ("/3/0", ("hello=5",), "4.00"),
        ("/3/0", ("pmin=-5",), "4.00"),
        ("/3/0/11/0", ("pmin=5",), "2.04"),
        ("/3/0/11/9", ("pmin=5",), "4.04"),
        ("/3/0/10", ("pmin=5",), "4.04"),
        ("/3/7", ("pmin=5",), "4.04"),
        ("/77", ("pmin=5",), "4.04"),
        ("/0/0", ("pmin=5",), "4.01"),
        ("/", ("pmin=5",), "4.05"),
        ("/3/0/2/0", ("pmin=5",), "4.05"),
    ],
)
def test_attributes_are_attached_as_the_standard_says(managed, path, query, expected):
    assert managed.code(PUT, path, *query) == expected


def test_without_observing_there_is_no_place_for_attributes(managed):
    request = Request(PUT, ("3", "0"), ("pmin=5",))
    assert serve(managed.tree, request).response.code == codes.NOT_IMPLEMENTED


# ---- execute ----


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", ()),
        (b"0", ((0, None),)),
        (b"5='x y'", ((5, "x y"),)),
        (b"2,1='',0='a,b=1'", ((2, None), (1, ""), (0, "a,b=1"))),
        (b"0,1,2,3,4,5,6,7,8,9", tuple((number, None) for number in range(10))),
    ],
)
def test_arguments_of_an_execute_are_told(managed, payload, expected):
    served = managed.ask(POST, "/3/0/4", payload=payload, content_format=TEXT)
    assert served.response.code == codes.CHANGED
    assert served.arguments == expected
    assert served.touched == (ObjectPath(3, 0, 4),)


@pytest.mark.parametrize(
    "payload",
    [b"10", b"a", b",", b"0,", b"0,,1", b"0,0", b"0='a", b"0=a", b"0=''x", b"1=", b"\xff", b"0 ,1"],
)
def test_malformed_arguments_are_refused(managed, payload):
    assert managed.code(POST, "/3/0/4", payload=payload, content_format=TEXT) == "4.00"


def test_what_cannot_be_executed_is_not(managed):
    assert managed.code(POST, "/3/0/2") == "4.05"
    assert managed.code(POST, "/1/0/9") == "4.04"
    assert managed.code(POST, "/3/0/4", payload=b"0", content_format=TLV) == "4.15"


def test_only_executables_that_are_there_are_executed(managed):
    managed.write(PUT, "/16/0", {"/16/0/0/0": "x"})
    assert managed.code(POST, "/3/0/4/0") == "4.05"


# ---- create, delete ----


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("/3", {"/3/1/14": "x"}, "4.05"),
        ("/77", {}, "4.04"),
        ("/16", {"/16/0/0/0": "there already"}, "4.00"),
        ("/16", {}, "4.00"),
        ("/16", {"/16/1/0/0": "a", "/16/2/0/0": "b"}, "2.01"),
        ("/16", {"/16/0/0/0": "there already", "/16/2/0/0": "b"}, "4.00"),
        ("/18830", {"/18830/0/0": "mqtts://x"}, "4.00"),
        ("/16", {"/16/65534/0/0": "last"}, "2.01"),
    ],
)
def test_a_create_is_answered_as_the_standard_says(managed, path, values, expected):
    assert managed.write(POST, path, values, SENML if values else TLV) == expected


def test_an_instance_without_id_gets_the_first_free_one(managed):
    rows = b"\x85\x00\x43\x00abc"
    served = managed.ask(POST, "/16", payload=rows, content_format=TLV)
    assert served.response.location_path == ("16", "1")
    assert managed.read("/16/1") == {"/16/1/0/0": "abc"}


@pytest.mark.parametrize(("number", "expected"), [(0, "2.01"), (3, "4.00")])
def test_an_object_of_one_instance_has_instance_0(make_managed, number, expected):
    device = make_managed(creatable=[6], values={"/16/0/0/0": "x"})
    values = {f"/6/{number}/0": 1.0, f"/6/{number}/1": 2.0}
    payload = b"".join(
        tlv.record(tlv.RESOURCE, resource, tlv.encode_value(ValueType.FLOAT, value))
        for resource, value in enumerate(values.values())
    )
    rows = tlv.record(tlv.OBJECT_INSTANCE, number, payload)
    assert device.code(POST, "/6", payload=rows, content_format=TLV) == expected
    if expected == "2.01":
        assert device.code(POST, "/6", payload=rows, content_format=TLV) == "4.05"


def test_a_resource_that_the_device_lacks_is_not_executed(managed):
    assert managed.tree.supports(ObjectPath(1, 0, 23))
    assert managed.code(POST, "/1/0/4") == "4.04"


def test_a_resource_that_came_by_bootstrap_alone_is_known(managed):
    assert not managed.tree.supports(ObjectPath(3, 0, 22))
    managed.tree.apply({ObjectPath(3, 0, 22, 0): ObjectLink(3, 0)})
    assert managed.tree.supports(ObjectPath(3, 0, 22))
    assert managed.read("/3/0/22") == {"/3/0/22/0": ObjectLink(3, 0)}


def test_instances_are_bounded(managed):
    answers = [managed.write(POST, "/16", {f"/16/{n}/0/0": "x"}) for n in range(1, 20)]
    assert answers == ["2.01"] * 15 + ["5.03"] * 4


@pytest.mark.parametrize(
    ("version", "path", "expected"),
    [
        ("1.1", "/16", "4.05"),
        ("1.1", "/16/0", "2.02"),
        ("1.1", "/16/9", "4.04"),
        ("1.1", "/16/0/0", "4.05"),
        ("1.1", "/16/0/0/0", "4.05"),
        ("1.2", "/16/0/0/0", "2.02"),
        ("1.2", "/16/0/0/9", "4.04"),
        ("1.2", "/3/0/11/0", "4.05"),
        ("1.2", "/3/0", "4.05"),
        ("1.2", "/", "4.05"),
    ],
)
def test_a_delete_is_answered_as_the_standard_says(make_managed, version, path, expected):
    assert make_managed(version).code(DELETE, path) == expected


def test_the_last_instance_of_a_mandatory_resource_stays(managed12):
    assert managed12.code(DELETE, "/16/0/0/1") == "2.02"
    assert managed12.code(DELETE, "/16/0/0/0") == "4.05"


def test_a_deleted_instance_takes_its_attributes_along(managed):
    managed.code(PUT, "/16/0", "pmin=5")
    managed.code(PUT, "/16", "pmax=50")
    managed.code(DELETE, "/16/0")
    managed.write(POST, "/16", {"/16/0/0/0": "again"})
    assert managed.links("/16")["/16/0"] == {}
    assert managed.links("/16")["/16"] == {"pmax": "50"}


def test_every_level_is_in_the_list_of_formats():
    assert set(itertools.chain(MANY, SINGLE)) | {content_formats.OCTET_STREAM} == SUPPORTED
