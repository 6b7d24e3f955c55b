"""The master gives shares so that no device has two users, whatever files the machines have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.shares import (
    IllegalMessage,
    Share,
    ShareBook,
    devices_of,
    parse_share,
    parse_share_wanted,
    share_wanted,
)

names = st.sets(st.text("abcdef0123456789", min_size=1, max_size=6), max_size=40)


def test_nothing_is_given_before_all_have_asked() -> None:
    book = ShareBook(2)
    assert book.ask("one", share_wanted(["a", "b"])) == {}
    assert book.waiting == 1
    assert set(book.ask("two", share_wanted(["a", "b"]))) == {"one", "two"}


@given(devices=names, workers=st.integers(1, 7))
def test_workers_with_the_same_file_share_it_whole_and_without_overlap(
    devices: set[str], workers: int
) -> None:
    book, given_shares = ShareBook(workers), {}
    file = sorted(devices)
    for number in range(workers):
        given_shares = book.ask(f"worker-{number}", share_wanted(file))
    shares = [devices_of(file, share) for share in given_shares.values()]
    assert sorted(name for share in shares for name in share) == file
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_machines_with_files_of_their_own_split_each_among_their_workers() -> None:
    book = ShareBook(3)
    book.ask("one", share_wanted(["a", "b"]))
    book.ask("two", share_wanted(["c", "d"]))
    assert book.ask("three", share_wanted(["d", "c"])) == {
        "one": Share(0, 1),
        "two": Share(0, 2),
        "three": Share(1, 2),
    }


def test_files_that_overlap_are_refused_to_all() -> None:
    book = ShareBook(2)
    book.ask("one", share_wanted(["a", "b"]))
    shares = book.ask("two", share_wanted(["b", "c"]))
    assert all("1 devices are in more than one devices file" in s.refused for s in shares.values())


def test_a_worker_that_comes_late_gets_none_and_one_that_asks_again_its_own() -> None:
    book = ShareBook(1)
    wanted = share_wanted(["a"])
    assert book.ask("one", wanted) == {"one": Share(0, 1)}
    assert book.ask("one", wanted) == {"one": Share(0, 1)}
    assert "--expect-workers" in book.ask("late", wanted)["late"].refused


def test_no_name_goes_over_the_wire() -> None:
    wanted = share_wanted(["street-lamp-0042"])
    assert b"lamp" not in wanted.digests
    assert wanted.devices == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "expected an object, got NoneType"),
        ({}, "missing required field `digests`"),
        ({"digests": b"seven.."}, "7 bytes are not a multiple of 8"),
        ({"digests": 7}, "Expected `bytes`"),
    ],
)
def test_what_is_no_request_for_a_share_is_told_so(data: object, told: str) -> None:
    with pytest.raises(IllegalMessage, match=told):
        parse_share_wanted(data)


@pytest.mark.parametrize("data", [{"index": 2, "of": 2}, {"index": -1}, {"of": 0}, [], "share"])
def test_what_is_no_share_is_told_so(data: object) -> None:
    with pytest.raises(IllegalMessage):
        parse_share(data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(data=plain | st.fixed_dictionaries({"digests": plain}))
def test_whatever_a_stranger_sends_is_a_share_request_or_illegal(data: object) -> None:
    try:
        wanted = parse_share_wanted(data)
    except IllegalMessage:
        return
    assert len(wanted.digests) % 8 == 0


@given(data=plain | st.fixed_dictionaries({"index": plain, "of": plain}))
def test_whatever_a_stranger_sends_is_a_share_or_illegal(data: object) -> None:
    try:
        share = parse_share(data)
    except IllegalMessage:
        return
    assert 0 <= share.index < share.of
