"""Users get devices that are off, of the model that they want."""

from __future__ import annotations

from harness.load.roster import Roster


def test_every_device_is_given_once() -> None:
    roster = Roster(["lamp", "meter", "lamp"])
    assert [roster.take(None) for _ in range(4)] == [0, 1, 2, None]


def test_a_model_is_given_only_where_it_is_wanted() -> None:
    roster = Roster(["lamp", "meter", "lamp"])
    assert roster.take("lamp") == 0
    assert roster.take(None) == 1
    assert roster.take("lamp") == 2
    assert roster.take("lamp") is None
    assert roster.take("bin") is None


def test_the_device_that_has_been_off_for_longest_is_next() -> None:
    roster = Roster(["lamp"] * 3)
    first, _, _ = (roster.take(None) for _ in range(3))
    assert first is not None
    roster.give_back(2)
    roster.give_back(first)
    assert [roster.take("lamp"), roster.take(None)] == [2, 0]


def test_it_tells_what_there_is() -> None:
    roster = Roster(["meter", "lamp", "lamp"])
    assert (len(roster), roster.models) == (3, ["lamp", "meter"])
