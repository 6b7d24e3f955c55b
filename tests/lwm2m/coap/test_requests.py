"""Requests and responses against RFC 7252 §5.4: what is kept, ignored and refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.coap import ACK, CON, BadOption, Request, Response, codes, decode_message, options
from lwm2m.coap.requests import encode_request, encode_response, read_request, read_response


def _read(*found: tuple[int, bytes]) -> Request:
    return read_request(codes.POST, found, b"", True)


def test_a_register_request_has_its_path_query_and_format_as_fields() -> None:
    request = _read((11, b"rd"), (12, b"\x28"), (15, b"ep=lamp"), (15, b"lt=60"))
    assert request.path == ("rd",)
    assert request.query == ("ep=lamp", "lt=60")
    assert request.content_format == 40


def test_an_unknown_critical_option_is_refused() -> None:
    with pytest.raises(BadOption) as raised:
        _read((9, b"x"))
    assert raised.value.number == 9


def test_an_unknown_elective_option_is_kept_for_who_knows_it() -> None:
    assert _read((10, b"x")).options == ((10, b"x"),)


def test_if_match_is_refused_unless_the_user_acts_on_it() -> None:
    found = ((options.IF_MATCH, b""),)
    with pytest.raises(BadOption):
        read_request(codes.PUT, found, b"", True)
    kept = read_request(codes.PUT, found, b"", True, frozenset({options.IF_MATCH}))
    assert kept.options == found


@pytest.mark.parametrize(
    "option",
    [
        (options.URI_PATH, bytes(256)),
        (options.URI_QUERY, bytes(256)),
        (options.URI_HOST, b""),
        (options.ACCEPT, bytes(3)),
        (options.BLOCK1, bytes(4)),
    ],
)
def test_a_critical_option_of_a_wrong_length_is_refused(option: tuple[int, bytes]) -> None:
    with pytest.raises(BadOption):
        _read(option)


@pytest.mark.parametrize(
    "option",
    [(options.CONTENT_FORMAT, bytes(3)), (options.OBSERVE, bytes(4)), (options.SIZE1, bytes(5))],
)
def test_an_elective_option_of_a_wrong_length_is_ignored(option: tuple[int, bytes]) -> None:
    assert _read(option) == Request(codes.POST)


def test_an_elective_option_of_a_wrong_length_is_ignored_in_a_response_too() -> None:
    found = ((options.ETAG, b""), (options.MAX_AGE, bytes(5)), (options.SIZE2, b"\x05"))
    assert read_response(codes.CONTENT, found, b"").options == ((options.SIZE2, b"\x05"),)


def test_a_repeated_option_that_may_come_once_is_refused_or_ignored_by_its_class() -> None:
    with pytest.raises(BadOption):
        _read((options.ACCEPT, b"\x01"), (options.ACCEPT, b"\x02"))
    assert _read((12, b"\x01"), (12, b"\x02")).content_format == 1
    assert _read((6, b""), (6, b"\x01")).observe == 0


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(BadOption):
        _read((options.URI_PATH, b"\xff\xfe"))


def test_an_empty_path_segment_and_one_of_255_bytes_are_kept() -> None:
    assert _read((11, b""), (11, b"a" * 255)).path == ("", "a" * 255)


@pytest.mark.parametrize(
    "request_",
    [
        Request(codes.GET, ("a" * 256,)),
        Request(codes.GET, query=("a" * 256,)),
        Request(codes.GET, content_format=65_536),
        Request(codes.GET, accept=-1),
        Request(codes.GET, path=("\ud800",)),
        Request(codes.CONTENT),
        Request(codes.GET, ("a" * 256,), options=((60, b""),)),
    ],
)
def test_a_request_that_the_standard_has_no_bytes_for_is_not_encoded(request_: Request) -> None:
    with pytest.raises(ValueError):
        encode_request(CON, 1, b"", request_)


def test_a_response_that_the_standard_has_no_bytes_for_is_not_encoded() -> None:
    with pytest.raises(ValueError):
        encode_response(ACK, 1, b"", Response(codes.GET))
    with pytest.raises(ValueError):
        encode_response(ACK, 1, b"", Response(codes.CREATED, location_path=("a" * 256,)))


_SEGMENTS = st.lists(st.text(max_size=40), max_size=4).map(tuple)
_FORMATS = st.none() | st.integers(0, 65_535)
_EXTRA = st.lists(
    st.tuples(st.sampled_from([4, 10, 60, 252, 2_048]), st.binary(min_size=1, max_size=4)),
    max_size=3,
    unique_by=lambda option: option[0],
).map(lambda found: tuple(sorted(found)))


@given(
    st.builds(
        Request,
        code=st.sampled_from([codes.GET, codes.POST, codes.FETCH]),
        path=_SEGMENTS,
        query=_SEGMENTS,
        content_format=_FORMATS,
        accept=_FORMATS,
        observe=st.none() | st.integers(0, 1),
        payload=st.binary(max_size=50),
        options=_EXTRA,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_request_comes_back_as_it_was(request: Request) -> None:
    message = decode_message(encode_request(CON, 7, b"tk", request))
    assert read_request(message.code, message.options, message.payload, True) == request


@given(
    st.builds(
        Response,
        code=st.sampled_from([codes.CREATED, codes.CONTENT, codes.BAD_REQUEST]),
        payload=st.binary(max_size=50),
        content_format=_FORMATS,
        location_path=_SEGMENTS,
        observe=st.none() | st.integers(0, 0xFFFFFF),
        options=_EXTRA,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_response_comes_back_as_it_was(response: Response) -> None:
    message = decode_message(encode_response(ACK, 7, b"tk", response))
    assert read_response(message.code, message.options, message.payload) == response


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=5)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_options_make_a_request_or_a_bad_option(found: list[tuple[int, bytes]]) -> None:
    ordered = tuple(sorted(found, key=lambda option: option[0]))
    for read in (
        lambda: read_request(codes.POST, ordered, b"", True),
        lambda: read_response(codes.CONTENT, ordered, b""),
    ):
        try:
            read()
        except BadOption:
            continue
