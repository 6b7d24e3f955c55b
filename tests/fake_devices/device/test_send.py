"""Send: what goes in, in which format, and what is left out."""

import pytest

from fake_devices.device.send import SEND_PATH, encode_send, readings_of, send_request
from lwm2m.codecs import TimedNode, content_formats, decode_timed
from lwm2m.errors import IllegalPath, UnsupportedContentFormat
from lwm2m.objects import ObjectPath
from lwm2m.reporting import AccessContext

SENML_JSON, SENML_CBOR = content_formats.SENML_JSON, content_formats.SENML_CBOR
LWM2M_CBOR = content_formats.LWM2M_CBOR
BATTERY = ObjectPath(3, 0, 9)


@pytest.mark.parametrize("content_format", [SENML_JSON, SENML_CBOR])
def test_readings_are_sent_with_their_times(managed, content_format):
    readings = [TimedNode(BATTERY, 50, 1.8e9), TimedNode(BATTERY, 49, 1.8e9 + 60)]
    request = send_request(managed.tree, readings, content_format, confirmable=False)
    assert (request.path, request.confirmable) == (SEND_PATH, False)
    assert request.content_format == content_format
    assert decode_timed(content_format, None, request.payload, managed.models) == readings


def test_lwm2m_cbor_tells_no_times_and_comes_with_1_2(managed, managed12):
    readings = readings_of(managed12.tree, [BATTERY], 1.8e9)
    payload = encode_send(managed12.tree, readings, LWM2M_CBOR)
    assert decode_timed(LWM2M_CBOR, None, payload, managed12.models) == [
        TimedNode(BATTERY, 0, None)
    ]
    with pytest.raises(UnsupportedContentFormat):
        encode_send(managed.tree, readings, LWM2M_CBOR)
    with pytest.raises(IllegalPath):
        encode_send(managed12.tree, [*readings, *readings], LWM2M_CBOR)


@pytest.mark.parametrize("content_format", [0, 40, 42, 60, 11542, 11543, 320, 7])
def test_other_formats_are_not_sent(managed12, content_format):
    with pytest.raises(UnsupportedContentFormat):
        encode_send(managed12.tree, [], content_format)


def test_what_a_server_may_not_read_is_not_sent_to_it(make_managed):
    device = make_managed(values={"/1/1/0": 2, "/2/0/0": 3, "/2/0/1": 0, "/2/0/3": 1})
    assert len(readings_of(device.tree, [BATTERY], 1.0, AccessContext(1))) == 1
    assert readings_of(device.tree, [BATTERY], 1.0, AccessContext(2)) == []
    assert readings_of(device.tree, [None], None)[0].unix_s is None
