"""The package server gives a device its package by blocks, as it asks for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.bench.package_server import answer_to, parameters_for, read_package
from lwm2m.coap import CoapEndpoint, RequestReceived, codes
from lwm2m.coap.requests import Request
from lwm2m.firmware import Download, FirmwareUri
from runtime.component import ConfigError

PACKAGE = bytes(range(256)) * 300


def endpoint(first: int) -> CoapEndpoint:
    numbers = iter(range(first, 1 << 60))
    return CoapEndpoint(
        parameters_for(PACKAGE),
        lambda count: next(numbers).to_bytes(8, "big")[-count:].rjust(count, b"\1"),
    )


def test_a_device_fetches_the_whole_package_by_blocks() -> None:
    device, server = endpoint(1), endpoint(1_000)
    download = Download(FirmwareUri("coap://127.0.0.1:5683/firmware"))
    etag = hashlib.sha256(PACKAGE).digest()[:8]
    is_whole: object = False
    for _ in range(len(PACKAGE) // 1024 + 2):
        device.send_request("server", download.next_request(), 0.0)
        for data, _peer in device.datagrams_to_send():
            server.receive_datagram(data, "device", 0.0)
        for event in server.events():
            response = answer_to(event, PACKAGE, etag)
            assert response is not None
            server.respond(event.exchange, response, 0.0)
        for data, _peer in server.datagrams_to_send():
            device.receive_datagram(data, "server", 0.0)
        [answer] = device.events()
        is_whole = download.take(answer.response)
        if is_whole is True:
            break
    assert is_whole is True
    assert download.body == PACKAGE


def test_only_get_is_answered() -> None:
    event = RequestReceived("device", 1, Request(codes.PUT, ("firmware",)), 1)
    response = answer_to(event, PACKAGE, b"12345678")
    assert response is not None
    assert response.code == codes.METHOD_NOT_ALLOWED
    assert answer_to("no event", PACKAGE, b"") is None  # type: ignore[arg-type]  # no request


def test_a_package_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the package"):
        read_package(str(tmp_path / "none.bin"))
