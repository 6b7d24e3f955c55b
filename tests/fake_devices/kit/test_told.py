"""What a device of the kit tells of itself: a line for what went well, a line for what did not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from contracts import journal
from fake_devices import kit
from lwm2m.coap import ACK, Response, codes
from lwm2m.coap.requests import encode_response
from lwm2m.transport import open_udp
from tests.processes import WITHIN_S


@pytest.mark.parametrize(
    ("settings", "called", "told"),
    [
        ({}, {}, "server or bootstrap_server: name one"),
        ({}, {"server": "127.0.0.1:5683"}, "expected coap://host:port"),
        ({}, {"bootstrap_server": "http://h"}, "expected coap://host:port"),
        ({}, {"server": "coaps://h:1"}, "coaps://h:1 needs psk, or certificate_file and key_file"),
        ({}, {"server": "coaps://h:1", "psk_file": "no/such"}, "cannot read the key no/such"),
        ({}, {"server": "coaps://h:1", "key_file": "k"}, "certificate_file and key_file go"),
        (
            {},
            {"server": "coaps://h:1", "certificate_file": "c", "key_file": "k"},
            "needs the setting trust_anchor_file",
        ),
        (
            {"trust_anchor_file": "no/anchors"},
            {"server": "coaps://127.0.0.1:1", "certificate_file": "c", "key_file": "no/key"},
            "cannot read",
        ),
    ],
)
def test_what_keeps_a_device_from_running_ends_the_program_with_a_line(
    settings: dict[str, Any], called: dict[str, Any], told: str
) -> None:
    device = kit.Device("room-17", **settings)
    with pytest.raises(SystemExit, match=told) as ended:
        device.run(**called)
    assert str(ended.value).startswith("room-17: ")
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [("00" * 16, 0o644, "0600"), ("no digits", 0o600, "is not hexadecimal")],
)
def test_a_key_file_that_cannot_be_used_is_told_without_the_key(
    content: str, mode: int, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(SystemExit, match=told) as ended:
        kit.Device("room-17").run("coaps://127.0.0.1:1", psk_file=file)
    assert content not in str(ended.value)


def test_its_registration_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    device = kit.Device("room-17")
    for at_ns in (1, 2):
        device._record(journal.DeviceRegistered(at_ns=at_ns, endpoint="room-17", location="/rd/5a"))
    assert caplog.messages == ["room-17 registered at /rd/5a"]


def test_why_a_server_refuses_it_is_told_in_the_servers_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        heard = asyncio.Event()

        def answer(datagrams: Any) -> None:
            for data, peer in datagrams:
                token = data[4 : 4 + (data[0] & 0x0F)]
                refusal = Response(codes.FORBIDDEN, b"this client has a key")
                link.send([(encode_response(ACK, data[2] << 8 | data[3], token, refusal), peer)])

        class Heard(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                heard.set()

        link = await open_udp("127.0.0.1", 0, answer)
        handler = Heard()
        logging.getLogger("fake_devices.kit").addHandler(handler)
        device = kit.Device("room-17")
        uri = "coap://{}:{}".format(*link.address)
        task = asyncio.ensure_future(device.serve(uri, device.line()))
        try:
            await asyncio.wait_for(heard.wait(), WITHIN_S)
        finally:
            logging.getLogger("fake_devices.kit").removeHandler(handler)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            link.close()

    asyncio.run(story())
    assert caplog.messages[0] == "room-17 was refused: 4.03 this client has a key"


@pytest.mark.parametrize("lifetime_s", [0, -300])
def test_a_lifetime_is_a_second_or_more(lifetime_s: int) -> None:
    with pytest.raises(kit.IllegalDeclaration, match="lifetime_s"):
        kit.Device("room-17", lifetime_s=lifetime_s)
