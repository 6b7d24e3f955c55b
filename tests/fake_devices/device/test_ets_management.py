"""The ETS's device management cases that judge the client (facts §2.3), each by its id.

Names of tests carry the case; configurations are in conftest. Where the ETS's text is defective
(facts §2.5) the test follows the protocol.
"""

import pytest

from fake_devices.device import Device
from fake_devices.device.downlink import serve
from lwm2m.coap import Request, codes
from lwm2m.codecs import SUPPORTED, Node, content_formats, encode_paths, encode_payload
from lwm2m.objects import ObjectPath

TEXT, CBOR, TLV = content_formats.TEXT, content_formats.CBOR, content_formats.TLV
SENML_JSON, SENML_CBOR = content_formats.SENML_JSON, content_formats.SENML_CBOR
OMA_JSON, LWM2M_CBOR = content_formats.OMA_JSON, content_formats.LWM2M_CBOR
GET, PUT, POST, DELETE, FETCH, IPATCH = (
    codes.GET,
    codes.PUT,
    codes.POST,
    codes.DELETE,
    codes.FETCH,
    codes.IPATCH,
)


def test_int_201_single_resources_are_read_as_text(managed):
    for path, expected in (
        ("/3/0/0", b"Open Mobile Alliance"),
        ("/3/0/1", b"Lightweight M2M Client"),
        ("/3/0/2", b"345000123"),
    ):
        answer = managed.ask(GET, path, accept=TEXT).response
        assert (answer.code, answer.content_format, answer.payload) == (
            codes.CONTENT,
            TEXT,
            expected,
        )


@pytest.mark.parametrize(
    ("case", "accept"), [(203, TLV), (204, OMA_JSON), (231, SENML_JSON), (232, SENML_CBOR)]
)
def test_int_203_204_231_232_the_device_object_is_read_in_a_format_of_many_values(
    managed, case, accept
):
    found = managed.read("/3/0", accept)
    assert found["/3/0/0"] == "Open Mobile Alliance"
    assert found["/3/0/11/0"] == 0
    assert not {"/3/0/4", "/3/0/5"} & found.keys()


@pytest.mark.parametrize("accept", [SENML_JSON, SENML_CBOR])
@pytest.mark.parametrize("path", ["/3", "/3/0", "/3/0/16", "/3/0/11/0"])
def test_int_231_232_senml_reads_at_four_levels(managed, path, accept):
    found = managed.read(path, accept)
    assert found
    assert all(ObjectPath.parse(path).contains(ObjectPath.parse(each)) for each in found)


@pytest.mark.parametrize(("case", "content_format"), [(205, TEXT), (212, CBOR)])
def test_int_205_212_single_resources_are_written_verified_and_restored(
    managed, case, content_format
):
    for path, value in (("/1/0/2", 101), ("/1/0/3", 1010), ("/1/0/5", 2000)):
        before = managed.read(path)[path]
        assert managed.write(PUT, path, {path: value}, content_format) == "2.04"
        assert managed.read(path, content_format) == {path: value}
        assert managed.write(PUT, path, {path: before}, content_format) == "2.04"
        assert managed.read(path) == {path: before}


def test_int_211_single_resources_are_read_as_cbor(managed):
    assert managed.read("/3/0/0", CBOR) == {"/3/0/0": "Open Mobile Alliance"}
    assert managed.read("/3/0/13", CBOR) == {"/3/0/13": 1_367_491_215}


@pytest.mark.parametrize(("case", "content_format"), [(215, TLV), (220, OMA_JSON)])
def test_int_215_220_a_partial_update_keeps_and_a_replacement_removes(
    managed, case, content_format
):
    update = {"/1/0/2": 101, "/1/0/3": 1010, "/1/0/5": 2000}
    assert managed.write(POST, "/1/0", update, content_format) == "2.04"
    found = managed.read("/1/0", content_format)
    assert found.items() >= {**update, "/1/0/1": 86_400, "/1/0/7": "U"}.items()
    whole = {"/1/0/1": 86_400, "/1/0/2": 1, "/1/0/3": 10, "/1/0/6": False, "/1/0/7": "U"}
    assert managed.write(PUT, "/1/0", whole, content_format) == "2.04"
    assert managed.read("/1/0", content_format) == {**whole, "/1/0/0": 1}
    assert managed.write(POST, "/1/0", {"/1/0/5": 86_400}, content_format) == "2.04"


@pytest.mark.parametrize("path", ["/0", "/0/0", "/0/0/0"])
def test_int_221_the_security_object_is_refused(managed, path):
    assert managed.code(GET, path) == "4.01"
    assert managed.code(PUT, path, "pmin=10") == "4.01"
    assert managed.code(PUT, path, payload=b"x", content_format=TEXT) == "4.01"
    assert managed.code(GET, path, accept=content_formats.LINK_FORMAT) == "4.01"


def test_int_222_to_225_reads_at_every_level(managed):
    assert {"/1/0/0", "/1/0/1"} <= managed.read("/1").keys()
    assert managed.read("/3") == managed.read("/3/0")
    assert managed.read("/1/0/1") == {"/1/0/1": 86_400}
    assert managed.read("/3/0/11") == {"/3/0/11/0": 0}
    assert managed.read("/3/0/11/0") == {"/3/0/11/0": 0}


@pytest.mark.parametrize(("case", "code"), [(226, POST), (227, PUT)])
def test_int_226_227_a_new_lifetime_is_told_to_the_device(managed, case, code):
    path = "/1/0" if code == POST else "/1/0/1"
    base = ObjectPath.parse(path)
    payload = encode_payload(TLV, base, [Node(ObjectPath(1, 0, 1), 60)], managed.models)
    served = managed.ask(code, path, payload=payload, content_format=TLV)
    assert served.touched == (ObjectPath(1, 0, 1),)
    assert managed.read("/1/0/1") == {"/1/0/1": 60}


def test_int_228_a_resource_instance_is_written_and_its_siblings_stay(managed):
    assert managed.write(PUT, "/16/0/0/1", {"/16/0/0/1": "other"}, TEXT) == "2.04"
    assert managed.read("/16/0") == {"/16/0/0/0": "host", "/16/0/0/1": "other"}


def fetch(managed, *paths, **options):
    payload = composite_paths(paths)
    return managed.ask(FETCH, "/", payload=payload, content_format=SENML_CBOR, **options)


def composite_paths(paths):
    return encode_paths(
        SENML_CBOR, [ObjectPath.parse(each) if each != "/" else None for each in paths]
    )


def test_int_229_280_a_composite_read_gives_exactly_what_is_asked_for(managed):
    answer = fetch(managed, "/16", "/1/0", "/3/0/13", "/3/0/11/0").response
    found = managed.values(answer)
    assert {path.rsplit("/", 1)[0] for path in found} == {"/1/0", "/3/0", "/3/0/11", "/16/0/0"}
    assert {path for path in found if path.startswith("/3")} == {"/3/0/13", "/3/0/11/0"}


@pytest.mark.parametrize("content_format", [SENML_CBOR, SENML_JSON])
def test_int_230_one_composite_write_changes_two_objects(managed, content_format):
    values = {"/1/0/1": 77, "/16/0/0/1": "composite"}
    assert managed.write(IPATCH, "/", values, content_format) == "2.04"
    assert managed.read("/1/0/1") == {"/1/0/1": 77}
    assert managed.read("/16/0/0/1") == {"/16/0/0/1": "composite"}


@pytest.mark.parametrize(("case", "content_format"), [(233, SENML_CBOR), (234, SENML_JSON)])
def test_int_233_234_senml_writes_at_instance_and_resource_level(managed, case, content_format):
    assert managed.write(POST, "/1/0", {"/1/0/2": 5}, content_format) == "2.04"
    assert managed.write(PUT, "/1/0/3", {"/1/0/3": 55}, content_format) == "2.04"
    assert managed.write(PUT, "/16/0/0", {"/16/0/0/0": "only"}, content_format) == "2.04"
    assert managed.read("/16/0") == {"/16/0/0/0": "only"}


def test_int_235_a_composite_read_of_the_root_tells_no_secret(managed):
    found = managed.values(fetch(managed, "/").response)
    assert {"/1/0/1", "/3/0/0", "/16/0/0/0"} <= found.keys()
    assert not [path for path in found if path.split("/")[1] in ("0", "21", "23")]


def test_int_236_unknown_paths_are_left_out_of_a_composite_read(managed):
    answer = fetch(managed, "/3/0/0", "/3/0/9999", "/77", "/16/8").response
    assert answer.code == codes.CONTENT
    assert managed.values(answer) == {"/3/0/0": "Open Mobile Alliance"}


def test_int_237_a_read_without_accept_says_which_format_it_has(managed):
    answer = managed.ask(GET, "/3/0").response
    assert answer.content_format in SUPPORTED
    assert managed.values(answer, "/3/0")["/3/0/2"] == "345000123"


def test_int_241_655_a_reboot_makes_the_device_register_afresh(rig):
    rig.start()
    registered = len([each for each in rig.requests if each.path == ("rd",)])
    assert rig.ask(codes.POST, "/3/0/4").code == codes.CHANGED
    rig.run(5)
    assert len([each for each in rig.requests if each.path == ("rd",)]) == registered + 1
    assert isinstance(rig.device, Device)


def test_int_256_a_read_only_resource_is_not_written(managed):
    assert managed.write(PUT, "/3/0/0", {"/3/0/0": "Other"}, TEXT) == "4.05"
    assert managed.read("/3/0/0") == {"/3/0/0": "Open Mobile Alliance"}


def test_int_257_a_composite_write_across_server_and_device_object(managed):
    values = {"/3/0/14": "+02:00", "/1/0/2": 1, "/1/0/3": 20}
    assert managed.write(IPATCH, "/", values) == "2.04"
    assert managed.read("/3/0/14") == {"/3/0/14": "+02:00"}
    assert managed.read("/1/0/3") == {"/1/0/3": 20}


def test_int_260_discover_at_three_levels(managed):
    links = managed.links("/3")
    assert {"/3", "/3/0", "/3/0/1", "/3/0/4", "/3/0/16"} <= links.keys()
    assert [links[f"/3/0/{number}"]["dim"] for number in (6, 7, 8)] == ["2", "2", "2"]
    assert managed.code(PUT, "/3", "pmin=10", "pmax=200") == "2.04"
    links = managed.links("/3/0")
    assert links["/3/0"] == {"pmin": "10", "pmax": "200"}
    assert links["/3/0/7"] == {"dim": "2"}
    assert managed.code(PUT, "/3/0/7", "lt=1", "gt=6", "st=1") == "2.04"
    links = managed.links("/3/0")
    assert links["/3/0/7"] == {"dim": "2", "lt": "1", "gt": "6", "st": "1"}
    links = managed.links("/3/0/7")
    assert list(links) == ["/3/0/7", "/3/0/7/0", "/3/0/7/1"]
    expected = {"dim": "2", "pmin": "10", "pmax": "200", "gt": "6", "lt": "1", "st": "1"}
    assert links["/3/0/7"] == expected


def test_int_261_attributes_are_written_at_three_levels(managed):
    assert managed.code(PUT, "/3", "pmin=10", "pmax=200") == "2.04"
    assert managed.code(PUT, "/3/0", "pmin=20") == "2.04"
    assert managed.code(PUT, "/3/0/7/0", "gt=3000") == "2.04"
    assert managed.links("/3")["/3"]["pmax"] == "200"
    assert managed.links("/3/0")["/3/0"] == {"pmin": "20", "pmax": "200"}
    assert managed.links("/3/0/7")["/3/0/7/0"] == {"gt": "3000"}
    assert managed.code(PUT, "/3/0", "pmin") == "2.04"
    assert managed.links("/3/0")["/3/0"] == {"pmin": "10", "pmax": "200"}


def test_int_264_266_discover_with_a_depth(managed12):
    assert list(managed12.links("/3", "depth=0")) == ["/3"]
    assert list(managed12.links("/3", "depth=1")) == ["/3", "/3/0"]
    assert list(managed12.links("/3/0", "depth=0")) == ["/3/0"]
    two = managed12.links("/3", "depth=2")
    assert "/3/0/7" in two
    assert "/3/0/7/0" not in two
    assert managed12.code(PUT, "/3/0/7/1", "gt=5") == "2.04"
    three = managed12.links("/3", "depth=3")
    assert three["/3/0/7/1"] == {"gt": "5"}
    assert managed12.links("/3/0", "depth=2") == {
        path: attributes for path, attributes in three.items() if path != "/3"
    }


def test_int_281_a_composite_read_skips_an_executable_resource(managed):
    answer = fetch(managed, "/3/0/4", "/3/0/0").response
    assert managed.values(answer) == {"/3/0/0": "Open Mobile Alliance"}


def test_int_651_time_offset_and_zone_are_written_in_one_tlv(managed):
    before = managed.read("/3/0")
    values = {"/3/0/13": 1_368_000_000, "/3/0/14": "-08:00", "/3/0/15": "America/Los_Angeles"}
    assert managed.write(POST, "/3/0", values, TLV) == "2.04"
    assert managed.read("/3/0").items() >= values.items()
    restored = {path: before[path] for path in values}
    assert managed.write(POST, "/3/0", restored, TLV) == "2.04"
    assert managed.read("/3/0") == before


def test_int_652_the_firmware_version_is_read(managed):
    assert managed.read("/3/0/3", TEXT) == {"/3/0/3": "1.0"}


def test_int_680_a_second_device_object_is_not_created(managed):
    assert managed.write(POST, "/3", {"/3/1/14": "x"}) == "4.05"


def test_int_685_the_device_object_is_not_deleted(managed):
    assert managed.code(DELETE, "/3/0") == "4.05"


def test_int_270_1630_a_portfolio_with_two_identities_is_created(managed):
    # The ETS's TLV with the header that can carry 43 bytes (facts §1.8).
    identities = b"\x48\x00\x11" + b"Host Device ID #1" + b"\x48\x01\x14" + b"Host Manufacturer #1"
    rows = b"\x08\x01\x2e\x88\x00\x2b" + identities
    request = Request(POST, ("16",), content_format=TLV, payload=rows)
    served = managed.send(request)
    assert codes.code_text(served.response.code) == "2.01"
    assert managed.read("/16/1", TLV) == {
        "/16/1/0/0": "Host Device ID #1",
        "/16/1/0/1": "Host Manufacturer #1",
    }


def test_int_290_1635_portfolio_instances_are_deleted(managed):
    assert managed.code(DELETE, "/16/0") == "2.02"
    assert managed.read("/16") == {}
    assert managed.code(GET, "/16/0") == "4.04"


def test_what_is_served_without_observing_is_served_alike(managed):
    assert serve(managed.tree, Request(GET, ("3", "0", "2"), accept=TEXT)).response.code == 0x45
