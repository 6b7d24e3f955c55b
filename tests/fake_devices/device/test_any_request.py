"""Whatever servers ask: a device answers as the standard allows, and nothing is half done."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_devices.device.downlink import serve
from fake_devices.device.tree import ObjectTree
from lwm2m.coap import Request, codes
from lwm2m.reporting import AccessContext

# What may be answered, by operation (facts §1.5); anything else would have to be a 5.xx.
ALLOWED = {
    "read": "2.05 4.00 4.01 4.04 4.05 4.06",
    "discover": "2.05 4.00 4.01 4.04 4.05",
    "write": "2.04 4.00 4.01 4.04 4.05 4.06 4.08 4.13 4.15",
    "write_attributes": "2.04 4.00 4.01 4.04 4.05",
    "execute": "2.04 4.00 4.01 4.04 4.05",
    "create": "2.01 4.00 4.01 4.04 4.05 4.06 4.15",
    "delete": "2.02 4.00 4.01 4.04 4.05",
    "observe": "2.05 4.00 4.01 4.04 4.05 4.06",
    "cancel_observation": "2.05 4.00 4.01 4.04 4.05 4.06 4.15",
    "observe_composite": "2.05 4.00 4.01 4.04 4.05 4.06 4.15",
    "read_composite": "2.05 4.00 4.01 4.04 4.05 4.06 4.15",
    "write_composite": "2.04 4.00 4.01 4.04 4.05 4.06 4.08 4.13 4.15",
}

numbers = st.sampled_from(["0", "1", "2", "3", "7", "11", "16", "1000", "18830", "65535"])
requests = st.builds(
    Request,
    code=st.integers(1, 7),
    path=st.lists(st.one_of(numbers, st.text(max_size=3)), max_size=5).map(tuple),
    query=st.lists(
        st.one_of(
            st.sampled_from(["pmin=5", "gt=1", "st", "edge=1", "con=0", "depth=2", "hqmax=2"]),
            st.text(max_size=5),
        ),
        max_size=2,
    ).map(tuple),
    content_format=st.none()
    | st.sampled_from([0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544, 7]),
    accept=st.none() | st.sampled_from([0, 40, 42, 60, 110, 112, 11542, 11543, 11544, 7]),
    observe=st.none() | st.integers(0, 2),
    payload=st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"5", b"\x81\xa1\x00\x62/3", b"\x81\xa2\x00\x66/1/0/1\x02\x05", b"0='x'"]),
    ),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(asked=st.lists(requests, max_size=6), version=st.sampled_from(["1.0", "1.1", "1.2"]))
def test_no_request_breaks_a_device_or_is_answered_with_a_code_of_its_own(
    make_managed, asked, version
):
    device = make_managed(version)
    for request in asked:
        before = dict(device.tree)
        served = device.send(request)
        text = codes.code_text(served.response.code)
        assert text in ALLOWED[served.operation].split() or text in ("4.15", "5.03"), served
        if not codes.is_success(served.response.code):
            assert dict(device.tree) == before
        device.run(1)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(asked=st.lists(requests, max_size=6), version=st.sampled_from(["1.0", "1.1", "1.2"]))
def test_no_request_breaks_a_device_within_bootstrap(make_managed, asked, version):
    tree = ObjectTree(make_managed(version).tree.template, {})
    for request in asked:
        before = dict(tree)
        served = serve(tree, request, access=AccessContext(None), phase="bootstrap")
        assert codes.code_text(served.response.code)[0] in "24" or served.response.code == 0xA3
        if not codes.is_success(served.response.code):
            assert dict(tree) == before
