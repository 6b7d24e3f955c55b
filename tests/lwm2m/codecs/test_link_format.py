"""Link format answers to RFC 6690, and to any bytes at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import DecodedPayloads, Link, LinkFormatLimits, link_format
from lwm2m.errors import InvalidValue, MalformedLinkFormat

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "fixtures/vectors/link_format/documents.json").read_text()
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_documents_decode_to_their_links(vector: dict[str, Any]) -> None:
    found = link_format.decode(vector["document"].encode())
    assert [[link.target, link.attributes] for link in found] == vector["links"]


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["source"].startswith("RFC")],
    ids=lambda vector: vector["name"],
)
def test_links_of_the_rfcs_encode_to_their_documents(vector: dict[str, Any]) -> None:
    links = [Link(target, attributes) for target, attributes in vector["links"]]
    assert link_format.encode(links).decode() == vector["document"]


def test_an_empty_payload_has_no_links() -> None:
    assert link_format.decode(b"") == ()
    assert link_format.encode([]) == b""


def test_the_first_of_a_repeated_attribute_counts() -> None:
    (link,) = link_format.decode(b'</a>;rt="one";rt="two"')
    assert link.attributes == {"rt": "one"}


@pytest.mark.parametrize(
    ("document", "offset"),
    [
        (b"/3/0", 0),
        (b"</3/0", 0),
        (b"</3/0>,", 7),
        (b"</3/0>;", 6),
        (b"</3/0>x", 6),
        (b"</1/0>,,</3/0>", 7),
        (b'</a>;title="open', 11),
        (b"</a>;=1", 4),
        (b"<a<b>", 0),
        (b"\xff", 0),
        (b"</a>;t\xc3\xa9=1", 6),
    ],
)
def test_documents_that_break_the_grammar_are_refused_with_the_place(
    document: bytes, offset: int
) -> None:
    with pytest.raises(MalformedLinkFormat) as caught:
        link_format.decode(document)
    assert caught.value.offset == offset


def test_documents_are_bounded() -> None:
    limits = LinkFormatLimits(payload_bytes_max=40, links_max=2, attributes_max=1)
    with pytest.raises(MalformedLinkFormat, match="more than 40 bytes"):
        link_format.decode(b"<" + b"a" * 40 + b">", limits)
    with pytest.raises(MalformedLinkFormat, match="more than 2 links"):
        link_format.decode(b"</1>,</2>,</3>", limits)
    with pytest.raises(MalformedLinkFormat, match="more than 1 attributes"):
        link_format.decode(b"</1>;a;b", limits)


def test_a_long_unclosed_quote_is_refused_quickly() -> None:
    document = b'</a>;t="' + b"\\a" * 8_000
    with pytest.raises(MalformedLinkFormat):
        link_format.decode(document)


@pytest.mark.parametrize(
    ("value", "numbers"), [("40", (40,)), ("112 11542", (112, 11542)), ("", ())]
)
def test_ct_is_a_number_or_a_list(value: str, numbers: tuple[int, ...]) -> None:
    assert link_format.media_types(Link("/", {"ct": value})) == numbers


def test_ct_that_is_no_number_is_refused() -> None:
    with pytest.raises(MalformedLinkFormat):
        link_format.media_types(Link("/", {"ct": "json"}))


@pytest.mark.parametrize(
    "link", [Link("a>b"), Link("a\nb"), Link("/a", {"": "x"}), Link("/a", {"a b": ""})]
)
def test_links_without_a_written_form_are_not_encoded(link: Link) -> None:
    with pytest.raises(InvalidValue):
        link_format.encode([link])


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TARGETS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>"), max_size=12
)


@pytest.mark.slow
@given(st.lists(st.builds(Link, TARGETS, st.dictionaries(NAMES, TEXTS, max_size=4)), max_size=5))
@settings(max_examples=150, deadline=None)
def test_what_is_encoded_is_decoded_again(links: list[Link]) -> None:
    assert list(link_format.decode(link_format.encode(links))) == links


@given(st.binary(max_size=60) | st.text('</>;,="\\ a1', max_size=40).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_decode_or_are_refused(payload: bytes) -> None:
    try:
        links = link_format.decode(payload)
    except MalformedLinkFormat:
        return
    assert link_format.decode(link_format.encode(links)) == links


# --- the cache of decoded payloads


def test_a_payload_that_was_seen_is_not_decoded_again() -> None:
    seen: list[bytes] = []

    def decode(payload: bytes) -> int:
        seen.append(payload)
        return len(payload)

    cache = DecodedPayloads(decode, entries_max=2, payload_bytes_max=3)
    assert [cache.get(payload) for payload in (b"a", b"bb", b"a", b"ccc", b"a", b"bb")] == [
        1,
        2,
        1,
        3,
        1,
        2,
    ]
    assert seen == [b"a", b"bb", b"ccc", b"bb"]
    assert len(cache) == 2


def test_large_payloads_are_decoded_and_not_kept() -> None:
    cache = DecodedPayloads(len, payload_bytes_max=3)
    assert cache.get(b"four") == 4
    assert len(cache) == 0


def test_errors_are_raised_every_time_and_not_kept() -> None:
    cache = DecodedPayloads(link_format.decode)
    for _ in range(2):
        with pytest.raises(MalformedLinkFormat):
            cache.get(b"x")
    assert len(cache) == 0
