"""Entity-tags, preconditions, freshness and named hosts (RFC 7252 §5.9, §5.10)."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    Request,
    Response,
    codes,
    etag_of,
    etags_of,
    has_if_none_match,
    if_match_of,
    max_age_s,
    options,
    preconditions_hold,
    uri_host_of,
    uri_port_of,
    validated,
    with_etag,
    with_max_age,
)
from tests.lwm2m.coap.by_hand import ByHand


def _request(*found: tuple[int, bytes]) -> Request:
    return Request(codes.GET, options=found)


@pytest.mark.parametrize(
    ("found", "expected"),
    [((), 60.0), (((14, b""),), 0.0), (((14, b"\x05"),), 5.0), (((14, b"\xff" * 4),), 2**32 - 1)],
)
def test_max_age_is_60_unless_it_is_said(
    found: tuple[tuple[int, bytes], ...], expected: float
) -> None:
    assert max_age_s(Response(codes.SERVICE_UNAVAILABLE, options=found)) == expected


def test_max_age_and_entity_tag_are_written_in_place_of_earlier_ones() -> None:
    response = with_max_age(with_max_age(Response(codes.CONTENT), 5), 300)
    assert max_age_s(response) == 300.0
    response = with_etag(with_etag(response, b"1"), b"2")
    assert etag_of(response) == b"2"
    assert len(response.options) == 2


def test_a_stored_response_is_confirmed_by_2_03_without_payload() -> None:
    whole = with_etag(Response(codes.CONTENT, b"body", 60), b"now")
    assert validated(_request((4, b"old"), (4, b"now")), whole) == Response(
        codes.VALID, options=((4, b"now"),)
    )
    assert validated(_request((4, b"old")), whole) == whole
    assert validated(_request(), whole) == whole
    error = with_etag(Response(codes.NOT_FOUND), b"now")
    assert validated(_request((4, b"now")), error) == error


def test_2_03_goes_over_the_wire_both_ways() -> None:
    talk = ByHand()
    talk.ask(codes.GET, (options.ETAG, b"now"))
    told = talk.respond(Response(codes.VALID, options=((options.ETAG, b"now"),)))
    assert etags_of(told.request) == (b"now",)
    answer = talk.sent_one()
    assert (answer.code, answer.options) == (codes.VALID, ((options.ETAG, b"now"),))


@pytest.mark.parametrize(
    ("found", "exists", "etag", "holds"),
    [
        ((), True, None, True),
        (((5, b""),), True, None, False),
        (((5, b""),), False, None, True),
        (((1, b""),), True, None, True),
        (((1, b""),), False, None, False),
        (((1, b"a"), (1, b"b")), True, b"b", True),
        (((1, b"a"),), True, b"b", False),
        (((1, b"a"),), True, None, False),
    ],
)
def test_preconditions(
    found: tuple[tuple[int, bytes], ...], exists: bool, etag: bytes | None, holds: bool
) -> None:
    assert preconditions_hold(_request(*found), exists=exists, etag=etag) is holds


def test_preconditions_reach_an_application_that_acts_on_them() -> None:
    talk = ByHand(critical_options=(options.IF_MATCH, options.IF_NONE_MATCH))
    talk.ask(codes.PUT, (options.IF_MATCH, b"tag"), (options.IF_NONE_MATCH, b""))
    told = talk.respond(Response(codes.PRECONDITION_FAILED))
    assert if_match_of(told.request) == (b"tag",)
    assert has_if_none_match(told.request)
    assert talk.sent_one().code == codes.PRECONDITION_FAILED


def test_a_critical_option_may_be_let_through_later() -> None:
    talk = ByHand()
    talk.endpoint.handle_option(options.IF_NONE_MATCH)
    talk.ask(codes.PUT, (options.IF_NONE_MATCH, b""))
    assert has_if_none_match(talk.respond(Response(codes.CHANGED)).request)


def test_preconditions_are_refused_for_an_application_that_does_not() -> None:
    talk = ByHand()
    talk.ask(codes.PUT, (options.IF_NONE_MATCH, b""))
    assert talk.sent_one().code == codes.BAD_OPTION


def test_host_and_port_are_read_and_do_not_change_what_is_served() -> None:
    talk = ByHand()
    talk.ask(codes.GET, (options.URI_HOST, b"lamp.example"), (options.URI_PORT, b"\x16\x33"))
    told = talk.respond(Response(codes.CONTENT))
    assert (uri_host_of(told.request), uri_port_of(told.request)) == ("lamp.example", 5683)
    assert (uri_host_of(Request(codes.GET)), uri_port_of(Request(codes.GET))) == (None, None)


@pytest.mark.parametrize("segment", [b".", b".."])
def test_a_path_segment_of_dots_is_a_bad_option(segment: bytes) -> None:
    talk = ByHand()
    talk.ask(codes.GET, (options.URI_PATH, segment))
    assert talk.sent_one().code == codes.BAD_OPTION
    with pytest.raises(ValueError, match="segment"):
        talk.send(Request(codes.GET, (segment.decode(),)))


@pytest.mark.parametrize("code", [0x08, 0x1F])
def test_a_method_that_does_not_exist_is_not_allowed(code: int) -> None:
    # RFC 7252 §5.8.
    talk = ByHand()
    talk.ask(code)
    assert talk.sent_one().code == codes.METHOD_NOT_ALLOWED
    assert talk.told() == []
