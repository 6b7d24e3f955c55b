"""What a device answers to its server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.journal import DownlinkServed
from fake_devices.device.downlink import serve
from fake_devices.device.tree import ModelTemplate, ObjectTree
from fake_devices.devices import MODELS, DeviceIdentity
from lwm2m.coap import Request, codes
from lwm2m.codecs import content_formats, decode_payload, link_format
from lwm2m.objects import ObjectLink, ObjectPath
from lwm2m.transport.simulated import NetworkConditions

SENML, TLV, TEXT = content_formats.SENML_CBOR, content_formats.TLV, content_formats.TEXT


@pytest.mark.parametrize("accept", [SENML, TLV])
def test_an_instance_is_read_in_the_format_asked_for(rig, accept):
    rig.start()
    answer = rig.ask(codes.GET, "/3/0", accept=accept)
    assert (answer.code, answer.content_format) == (codes.CONTENT, accept)
    values = dict(decode_payload(accept, ObjectPath(3, 0), answer.payload, rig.models))
    assert values[ObjectPath(3, 0, 2)] == "SN-7"
    assert values[ObjectPath(3, 0, 11, 0)] == 0


def test_an_object_is_read_with_all_its_instances(rig):
    rig.start()
    answer = rig.ask(codes.GET, "/4", accept=TLV)
    values = dict(decode_payload(TLV, ObjectPath(4), answer.payload, rig.models))
    assert values[ObjectPath(4, 0, 4, 0)] == "127.16.1.1"


def test_a_resource_is_read_as_text(rig):
    rig.start()
    assert rig.ask(codes.GET, "/3/0/2", accept=TEXT).payload == b"SN-7"


def test_a_written_command_is_read_back(rig):
    rig.start()
    assert rig.ask(codes.PUT, "/3416/0/1", [("/3416/0/1", 40)]).code == codes.CHANGED
    assert rig.ask(codes.GET, "/3416/0/1", accept=TEXT).payload == b"40"


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [
        (codes.GET, "/9999/0", "4.04"),
        (codes.GET, "/3/1", "4.04"),
        (codes.GET, "/3/0/999", "4.04"),
        (codes.GET, "/3/0/9", "4.04"),
        (codes.GET, "/3/0/11/7", "4.04"),
        (codes.GET, "/3/0/4", "4.05"),
        (codes.GET, "/0/0", "4.01"),
        (codes.GET, "/21", "4.01"),
        (codes.PUT, "/3", "4.05"),
        (codes.POST, "/3", "4.05"),
        (codes.POST, "/3/0/2", "4.05"),
        (codes.POST, "/3/0/5", "4.04"),
        (codes.DELETE, "/3/0", "4.05"),
        (codes.DELETE, "/3416/0", "4.05"),
        (codes.DELETE, "/18830/0", "4.04"),
        (codes.DELETE, "/18830", "4.05"),
        (codes.FETCH, "/3", "4.05"),
    ],
)
def test_a_request_that_cannot_be_is_answered_as_the_standard_says(rig, code, path, expected):
    rig.start()
    assert codes.code_text(rig.ask(code, path).code) == expected
    assert rig.recorded(DownlinkServed)[-1].code == expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/3416/0/3", 40, "4.05"),
        ("/3416/0/1", 101, "4.00"),
        ("/3416/0/4", 30, "2.04"),
        ("/1/0/5", 30, "2.04"),
        ("/3/0/14", "+01:00", "2.04"),
    ],
)
def test_a_write_is_answered_as_the_definition_says(rig, path, value, expected):
    rig.start()
    assert codes.code_text(rig.ask(codes.PUT, path, [(path, value)]).code) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(codes.GET, ()), "4.05"),
        (Request(codes.GET, ("3", "0", "11", "0", "0")), "4.05"),
        (Request(codes.GET, ("temperature",)), "4.04"),
        (Request(codes.GET, ("3", "0"), accept=65_000), "4.06"),
        (Request(codes.GET, ("3", "0"), accept=TEXT), "4.06"),
        (Request(codes.PUT, ("3416", "0", "1"), payload=b"7"), "4.00"),
        (Request(codes.PUT, ("3416", "0", "1"), content_format=TEXT, payload=b"x"), "4.00"),
        (Request(codes.PUT, ("3416", "0", "1"), content_format=9999, payload=b"7"), "4.15"),
        (Request(codes.PUT, ("3416", "0", "1"), content_format=SENML, payload=b"\xff"), "4.00"),
        (Request(codes.PUT, ("3", "0"), ("pmin=5",)), "2.04"),
        (Request(codes.POST, ("3", "0", "4"), content_format=TEXT, payload=b"0='a',1"), "2.04"),
        (Request(codes.POST, ("3", "0", "4"), content_format=TEXT, payload=b"10"), "4.00"),
        (Request(codes.POST, ("3", "0", "4"), content_format=TLV, payload=b"0"), "4.15"),
    ],
)
def test_bad_input_is_answered_as_the_standard_says(rig, request_, expected):
    rig.start()
    assert codes.code_text(rig.send(request_).code) == expected


def test_discover_lists_resources_executables_and_dimensions(rig):
    rig.start()
    answer = rig.ask(codes.GET, "/3", accept=content_formats.LINK_FORMAT)
    links = {link.target: link.attributes for link in link_format.decode(answer.payload)}
    assert answer.content_format == content_formats.LINK_FORMAT
    assert links["/3"] == {"ver": "1.2"}
    assert links["/3/0/11"] == {"dim": "1"}
    assert {"/3/0", "/3/0/2", "/3/0/4"} <= links.keys()
    one = rig.ask(codes.GET, "/3/0/2", accept=content_formats.LINK_FORMAT)
    assert [link.target for link in link_format.decode(one.payload)] == ["/3/0/2"]


def test_a_secret_key_is_never_read_and_writes_of_secrets_leave_no_value(rig):
    rig.start()
    assert rig.write_broker().code == codes.CREATED
    assert rig.ask(codes.GET, "/18830/0/9").code == codes.METHOD_NOT_ALLOWED
    answer = rig.ask(codes.GET, "/18830/0", accept=SENML)
    assert b"authority" in answer.payload
    assert b"private key" not in answer.payload
    rig.ask(codes.PUT, "/18830/0/9", [("/18830/0/9", b"another key")])
    assert all(record.value is None for record in rig.recorded(DownlinkServed))
    assert "key" not in repr(rig.records)
    assert "private key" not in repr(rig.device.tree)


def test_a_public_write_is_recorded_with_its_value(rig):
    rig.start()
    rig.ask(codes.PUT, "/3416/0/1", [("/3416/0/1", 40)])
    record = rig.recorded(DownlinkServed)[-1]
    assert (record.operation, record.path, record.value) == ("write", "/3416/0/1", 40)


def test_an_instance_is_created_where_the_server_says_or_where_there_is_room(rig):
    rig.start()
    assert rig.write_publication(3, "a").location_path == ("18831", "3")
    assert rig.write_publication(3, "a").code == codes.BAD_REQUEST
    rows = b"\xc4\x00</>\xc4\x01\x49\x8e\x00\x00\xc1\x02b\xc1\x03\x01\xc1\x04\x00"
    request = Request(codes.POST, ("18831",), content_format=TLV, payload=rows)
    assert rig.send(request).code == codes.BAD_REQUEST, "the source is cut short"
    rows = b"\xc3\x00</>\xc4\x01\x49\x8e\x00\x00\xc1\x02b\xc1\x03\x01\xc1\x04\x00"
    request = Request(codes.POST, ("18831",), content_format=TLV, payload=rows)
    assert rig.send(request).location_path == ("18831", "0")


def publications(*numbers, active=True):
    rows = [(0, "</3416/0>"), (1, ObjectLink(18830, 0)), (2, "a"), (3, 1), (4, False), (5, active)]
    return [(f"/18831/{number}/{n}", value) for number in numbers for n, value in rows]


def test_several_instances_are_created_at_once_and_the_answer_names_none(rig):
    rig.start()
    answer = rig.ask(codes.POST, "/18831", publications(0, 2))
    assert (answer.code, answer.location_path) == (codes.CREATED, ())
    assert rig.ask(codes.GET, "/18831/0/5", accept=TEXT).payload == b"1"
    assert rig.ask(codes.GET, "/18831/2/5", accept=TEXT).payload == b"1"


@pytest.mark.parametrize(
    "rows",
    [publications(1, 3), [*publications(1), ("/18831/2/0", "</3416/0>")], publications(*range(17))],
    ids=["one is there", "one lacks what is mandatory", "too many"],
)
def test_of_several_instances_all_are_created_or_none(rig, rows):
    rig.start()
    rig.write_publication(3, "a")
    answer = rig.ask(codes.POST, "/18831", rows)
    assert answer.code in (codes.BAD_REQUEST, codes.SERVICE_UNAVAILABLE)
    assert rig.ask(codes.GET, "/18831/1").code == codes.NOT_FOUND


def test_an_instance_that_lacks_what_is_mandatory_is_not_created(rig):
    rig.start()
    assert rig.ask(codes.POST, "/18830", [("/18830/0/0", "mqtts://a")]).code == codes.BAD_REQUEST
    assert rig.ask(codes.GET, "/18830/0").code == codes.NOT_FOUND


def test_a_replacing_write_removes_what_it_does_not_name(rig):
    rig.start()
    rig.write_publication(0, "a", active=True)
    rows = [("/18831/0/0", "</3/0>"), ("/18831/0/2", "b"), ("/18831/0/3", 0), ("/18831/0/4", True)]
    assert rig.ask(codes.PUT, "/18831/0", rows).code == codes.BAD_REQUEST, "no broker"
    assert rig.ask(codes.POST, "/18831/0", rows).code == codes.CHANGED
    assert rig.ask(codes.GET, "/18831/0/5", accept=TEXT).payload == b"1"
    assert rig.write_publication(0, "c", codes.PUT).code == codes.CHANGED
    assert rig.ask(codes.GET, "/18831/0/5", accept=TEXT).payload == b"0"


def test_a_request_is_carried_out_once_however_often_it_arrives(make_rig):
    conditions = NetworkConditions(loss_ratio=0.3, duplication_ratio=0.5, jitter_s=0.1)
    rig = make_rig(conditions=conditions, seed=5)
    rig.start()
    rig.run(100)
    rig.patience_s = 95
    for level in range(10):
        path = "/3416/0/1"
        rig.ask(codes.PUT, path, [(path, level)])
    served = [record.value for record in rig.recorded(DownlinkServed)]
    assert served == list(range(10))


def test_a_device_that_does_not_report_yet_measures_when_it_is_asked(rig):
    rig.start()
    rig.ask(codes.PUT, "/3416/0/1", [("/3416/0/1", 35)])
    rig.run(60)
    assert rig.ask(codes.GET, "/3416/0/3", accept=TEXT).payload == b"35"


segments = st.lists(
    st.one_of(st.sampled_from(["0", "1", "3", "4", "9", "3416", "18830", "18831"]), st.text()),
    max_size=5,
)


@given(
    code=st.integers(1, 7),
    path=segments,
    content_format=st.none() | st.sampled_from([0, 40, 42, 60, 112, 11542, 7]),
    accept=st.none() | st.sampled_from([0, 40, 42, 60, 112, 11542, 7]),
    payload=st.binary(max_size=60),
)
def test_no_request_breaks_a_device(lamp_template, code, path, content_format, accept, payload):
    tree = ObjectTree(lamp_template, dict(lamp_template.values))
    before = dict(tree)
    request = Request(
        code, tuple(path), content_format=content_format, accept=accept, payload=payload
    )
    served = serve(tree, request)
    assert served.response.code != codes.INTERNAL_SERVER_ERROR
    if not codes.is_success(served.response.code):
        assert dict(tree) == before


@pytest.fixture(scope="module")
def lamp_template(models):
    identity = DeviceIdentity("lamp-1", "SN-1", "street_lamp", 52.0, 4.2, 7)
    lamp = MODELS["street_lamp"]
    return ModelTemplate(lamp.objects, lamp.initial(identity, 1.79e9), models)
