"""The measurement of a device runs, very small, and its bars hold with room to spare."""

import pytest

from benchmarks.fleet_peers import Answers
from lwm2m.coap import Request, codes
from lwm2m.coap.message import CON, decode_message
from lwm2m.coap.requests import encode_request
from tests.benchmarks.test_benchmarks import line_of

REGISTERED_BYTES_MAX = 2_500


@pytest.mark.slow
@pytest.mark.bench
def test_a_registered_device_weighs_less_than_its_bar() -> None:
    line = line_of(
        "fleet_memory", "--devices", "3000", "--dtls-devices", "50", "--mqtt-devices", "20",
        "--updating-devices", "500",
    )  # fmt: skip
    [plain] = line["lwm2m"]
    assert 0 < plain["built_bytes"] < plain["registered_bytes"] < REGISTERED_BYTES_MAX
    assert plain["first_read_cpu_us"] > plain["read_cpu_us"] > 0
    assert line["dtls"]["registered_bytes"] > plain["registered_bytes"]
    assert line["mqtt_tls"]["connected_bytes"] > plain["registered_bytes"]
    assert line["mqtt_tls"]["packs_per_s"] > 0
    [updates] = line["updates"]
    assert updates["devices"] == 500
    assert updates["update_cpu_us"] > 0


def test_the_responder_tells_registers_from_updates() -> None:
    answers = Answers()
    register = Request(codes.POST, ("rd",), ("ep=lamp-1", "lt=60"), 40, payload=b"</1/0>")
    for _ in range(2):
        answer = answers.to(encode_request(CON, 7, b"token123", register))
        assert answer is not None
    created = decode_message(answer)
    assert (created.code, created.message_id, created.token) == (codes.CREATED, 7, b"token123")
    assert (answers.registered, answers.updated) == (2, 0)
    update = Request(codes.POST, ("rd", "00000002"))
    answer = answers.to(encode_request(CON, 8, b"t", update))
    assert answer is not None
    assert decode_message(answer).code == codes.CHANGED
    assert (answers.registered, answers.updated) == (2, 1)
    assert answers.to(answer) is None
