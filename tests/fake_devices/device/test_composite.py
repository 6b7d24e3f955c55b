"""Read-Composite and Write-Composite in every format, and what refuses them."""

import pytest

from lwm2m.coap import codes
from lwm2m.codecs import COMPOSITE, Node, content_formats, encode_composite_write, encode_paths
from lwm2m.objects import ObjectPath

FETCH, IPATCH = codes.FETCH, codes.IPATCH
TLV, SENML = content_formats.TLV, content_formats.SENML_CBOR


def paths_payload(*paths):
    return encode_paths(SENML, [None if each == "/" else ObjectPath.parse(each) for each in paths])


@pytest.mark.parametrize(
    ("version", "target", "options", "expected"),
    [
        ("1.1", "/", {"content_format": SENML}, "2.05"),
        ("1.1", "/", {"content_format": SENML, "accept": SENML}, "2.05"),
        ("1.2", "/", {"content_format": content_formats.SENML_ETCH_CBOR}, "2.05"),
        ("1.1", "/", {"content_format": content_formats.SENML_ETCH_CBOR}, "4.15"),
        ("1.1", "/", {"content_format": SENML, "accept": TLV}, "4.06"),
        ("1.1", "/", {"content_format": SENML, "accept": 11544}, "4.06"),
        ("1.1", "/", {"content_format": TLV}, "4.15"),
        ("1.1", "/", {}, "4.00"),
        ("1.1", "/3", {"content_format": SENML}, "4.05"),
        ("1.0", "/", {"content_format": SENML}, "4.05"),
    ],
)
def test_a_composite_read_is_answered_as_the_standard_says(
    make_managed, version, target, options, expected
):
    device = make_managed(version)
    assert device.code(FETCH, target, payload=paths_payload("/3/0/2"), **options) == expected


def test_a_composite_read_of_nothing_or_of_secrets_alone_is_refused(managed):
    assert managed.code(FETCH, "/", payload=paths_payload(), content_format=SENML) == "4.00"
    many = paths_payload(*[f"/3/0/{number}" for number in range(300)])
    assert managed.code(FETCH, "/", payload=many, content_format=SENML) == "4.00"
    secret = paths_payload("/0/0/5")
    assert managed.code(FETCH, "/", payload=secret, content_format=SENML) == "4.01"
    both = paths_payload("/0/0/5", "/3/0/2")
    assert managed.code(FETCH, "/", payload=both, content_format=SENML) == "2.05"
    assert managed.code(FETCH, "/", "x=1", payload=both, content_format=SENML) == "4.00"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"/1/0/1": 5, "/3/0/14": "+01:00", "/16/0/0/7": "x"}, "2.04"),
        ({"/1/0/1": 5, "/3/0/2": "x"}, "4.05"),
        ({"/1/0/1": 5, "/0/0/0": "x"}, "4.01"),
        ({"/1/0/1": 5, "/16/7/0/0": "x"}, "4.04"),
        ({"/1/0/1": 5, "/1/0/19": 1}, "4.04"),
        ({"/1/0/1": 5, "/1/0/26": 9}, "4.00"),
    ],
)
def test_a_composite_write_is_carried_out_wholly_or_not_at_all(managed, values, expected):
    before = dict(managed.tree)
    assert managed.write(IPATCH, "/", values) == expected
    if expected == "2.04":
        assert managed.read("/16/0/0/7") == {"/16/0/0/7": "x"}
    else:
        assert dict(managed.tree) == before


@pytest.mark.parametrize("content_format", sorted(COMPOSITE))
def test_a_composite_is_read_in_every_format(managed12, content_format):
    payload = encode_paths(content_format, [ObjectPath(16), ObjectPath(3, 0, 2)])
    answer = managed12.ask(FETCH, "/", payload=payload, content_format=content_format).response
    assert answer.code == codes.CONTENT
    assert managed12.values(answer) == {
        "/3/0/2": "345000123",
        "/16/0/0/0": "host",
        "/16/0/0/1": "maker",
    }


@pytest.mark.parametrize("accept", [110, 112, 11544])
def test_a_composite_is_answered_in_the_format_asked_for(managed12, accept):
    payload = paths_payload("/3/0/2")
    answer = managed12.ask(
        FETCH, "/", payload=payload, content_format=SENML, accept=accept
    ).response
    assert answer.content_format == accept
    assert managed12.values(answer) == {"/3/0/2": "345000123"}


@pytest.mark.parametrize("content_format", sorted(COMPOSITE - {110, 112}))
def test_null_in_a_composite_write_removes_a_resource_instance(managed12, content_format):
    written = [Node(ObjectPath(1, 0, 1), 5), Node(ObjectPath(16, 0, 0, 7), "seven")]
    payload = encode_composite_write(
        content_format, written, [ObjectPath(16, 0, 0, 1)], managed12.models
    )
    options = {"payload": payload, "content_format": content_format}
    assert managed12.code(IPATCH, "/", **options) == "2.04"
    assert managed12.read("/16/0") == {"/16/0/0/0": "host", "/16/0/0/7": "seven"}
    assert managed12.read("/1/0/1") == {"/1/0/1": 5}
    assert managed12.code(IPATCH, "/", **options) == "4.04", "it is gone"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'[{"n":"/16/0/0/1","v":null}]', "2.04"),
        (b'[{"n":"/16/0/0/0","v":null},{"n":"/16/0/0/1","v":null}]', "4.05"),
        (b'[{"n":"/1/0/1","v":null}]', "4.00"),
        (b'[{"n":"/16/0/0/9","v":null}]', "4.04"),
        (b'[{"n":"/16/0/0/1","v":null},{"n":"/16/0/0/1","vs":"x"}]', "4.00"),
        (b'[{"n":"/16/0/0","vs":"x"}]', "4.00"),
        (b'[{"n":"/3/0/6/0","v":null}]', "4.05"),
    ],
)
def test_null_is_for_resource_instances_that_may_go(managed12, payload, expected):
    before = dict(managed12.tree)
    assert managed12.code(IPATCH, "/", payload=payload, content_format=320) == expected
    assert expected == "2.04" or dict(managed12.tree) == before


def test_a_composite_write_is_at_the_root(managed):
    assert managed.code(IPATCH, "/3", payload=b"\x80", content_format=SENML) == "4.05"
    assert managed.code(IPATCH, "/", payload=b"\x80", content_format=TLV) == "4.15"
