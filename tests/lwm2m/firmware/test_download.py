"""Downloads block by block: sizes, breaks, other packages, other ends."""

from __future__ import annotations

import pytest

from lwm2m.coap import codes
from lwm2m.coap.blocks import Block, decode_block, encode_block
from lwm2m.coap.options import BLOCK2, ETAG
from lwm2m.coap.requests import Request, Response, find_option
from lwm2m.errors import InvalidValue
from lwm2m.firmware import Download, FirmwareResult, FirmwareUri

# Options of a block at another offset, and of one that is not full though more follow.
STRAY, SHORT = encode_block(Block(3, True, 0)), encode_block(Block(0, True, 0))
BODY = bytes(range(256)) * 10


def _serve(request: Request, body: bytes = BODY, szx: int = 6, etag: bytes = b"1") -> Response:
    """What a server answers: the block that was asked for, no larger than its own size."""
    value = find_option(request.options, BLOCK2)
    assert value is not None
    asked = decode_block(value)
    szx = min(szx, asked.szx)
    begin = asked.offset
    size = 16 << szx
    block = Block(begin // size, begin + size < len(body), szx)
    options = ((ETAG, etag), (BLOCK2, encode_block(block)))
    return Response(codes.CONTENT, body[begin : begin + size], options=options)


@pytest.mark.parametrize("szx", [0, 3, 6])
def test_a_package_is_fetched_in_the_blocks_that_the_server_gives(szx: int) -> None:
    download = Download(FirmwareUri("coap://files/a/lamp.bin?v=2&x"))
    request = download.next_request()
    assert (request.path, request.query) == (("a", "lamp.bin"), ("v=2", "x"))
    turns = 0
    while not download.take(_serve(download.next_request(), szx=szx)):
        turns += 1
    assert download.body == BODY
    assert turns == (len(BODY) - 1) // (16 << szx)


def test_a_download_goes_on_with_the_block_that_got_no_answer() -> None:
    download = Download(FirmwareUri("coap://files/lamp.bin"))
    assert download.take(_serve(download.next_request())) is False
    request = download.next_request()
    assert download.next_request() == request
    assert download.taken == 1024
    value = find_option(request.options, BLOCK2)
    assert value is not None
    assert decode_block(value) == Block(1, False, 6)


def test_a_server_without_blocks_gives_the_whole_package() -> None:
    download = Download(FirmwareUri("coap://files/lamp.bin"))
    assert download.take(Response(codes.CONTENT, b"small")) is True
    assert download.body == b"small"


def test_another_package_in_the_middle_starts_over() -> None:
    download = Download(FirmwareUri("coap://files/lamp.bin"))
    download.take(_serve(download.next_request()))
    changed = _serve(download.next_request(), etag=b"2")
    assert download.take(changed) is FirmwareResult.CONNECTION_LOST
    assert download.taken == 0
    assert download.take(_serve(download.next_request(), etag=b"2")) is False


@pytest.mark.parametrize(
    ("response", "result"),
    [
        (Response(codes.NOT_FOUND), FirmwareResult.INVALID_URI),
        (
            Response(codes.CONTENT, b"x", options=((BLOCK2, b"\x0f"),)),
            FirmwareResult.CONNECTION_LOST,
        ),
        (
            Response(codes.CONTENT, b"x" * 16, options=((BLOCK2, STRAY),)),
            FirmwareResult.CONNECTION_LOST,
        ),
        (
            Response(codes.CONTENT, b"x" * 9, options=((BLOCK2, SHORT),)),
            FirmwareResult.CONNECTION_LOST,
        ),
    ],
)
def test_what_makes_no_package_ends_the_download(
    response: Response, result: FirmwareResult
) -> None:
    assert Download(FirmwareUri("coap://files/lamp.bin")).take(response) is result


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("coap://files/x", "coap://files"),
        ("coaps://[::1]:7000/x", "coaps://[::1]:7000"),
        ("https://files.example:8443/x", "https://files.example:8443"),
    ],
)
def test_a_uri_names_its_server(uri: str, server: str) -> None:
    assert FirmwareUri(uri).server == server


@pytest.mark.parametrize(
    "uri",
    ["lamp.bin", "ftp://files/x", "coap:///x", "coap://[", "coap://f:99999/", "coap://u@f/x",
     "coap://f/x#y", "coap://f/" + "x" * 256],
)  # fmt: skip
def test_a_text_that_is_no_uri_of_firmware_is_invalid(uri: str) -> None:
    with pytest.raises(InvalidValue):
        FirmwareUri(uri)
