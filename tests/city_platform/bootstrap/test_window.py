"""What is on its way to one bridge: bounded, in order, and lost only when others have passed it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from city_platform.bootstrap.window import Window

S = 1_000_000
BEGIN = 1_780_000_000 * S


def test_more_than_its_size_wait_and_enter_in_order_when_others_leave() -> None:
    window = Window(2, 3 * S)
    assert [window.enter(name, BEGIN) for name in "abcd"] == [True, True, False, False]
    assert (window.on_their_way, window.queued) == (2, 2)
    assert window.is_queued("c")
    assert window.released(BEGIN, 9) == []
    window.confirm("a", BEGIN + 1)
    window.confirm("b", BEGIN + 1)
    assert window.next_timer() == 0
    assert window.released(BEGIN + 2, 1) == ["c"]
    assert window.released(BEGIN + 2, 9) == ["d"]
    assert window.next_timer() is None


def test_nobody_overtakes_those_that_wait() -> None:
    window = Window(1, 3 * S)
    window.enter("a", BEGIN)
    window.enter("b", BEGIN)
    window.confirm("a", BEGIN + 1)
    assert not window.enter("c", BEGIN + 1)
    assert window.released(BEGIN + 1, 9) == ["b"]


def test_what_waits_behind_others_is_under_way_as_long_as_those_are_confirmed() -> None:
    window = Window(100, 3 * S)
    for number in range(20):
        window.enter(str(number), BEGIN + number)
    # One confirmation a second: the last device has waited for 19 s, and is not lost.
    for second in range(1, 20):
        window.confirm(str(second - 1), BEGIN + second * S)
        assert window.is_under_way("19", BEGIN + second * S)
    # What was sent just before one that is confirmed may still be at work.
    window.enter("a", BEGIN + 20 * S)
    window.enter("b", BEGIN + 21 * S)
    window.confirm("b", BEGIN + 24 * S)
    assert window.is_under_way("a", BEGIN + 24 * S)


def test_what_later_ones_have_passed_is_lost() -> None:
    window = Window(100, 3 * S)
    window.enter("a", BEGIN)
    window.enter("b", BEGIN + 3 * S)
    window.confirm("b", BEGIN + 4 * S)
    assert not window.is_under_way("a", BEGIN + 4 * S)


def test_with_no_confirmation_at_all_everything_is_lost_after_the_patience() -> None:
    window = Window(1, 3 * S)
    window.enter("a", BEGIN)
    assert window.is_under_way("a", BEGIN + 3 * S - 1)
    assert not window.is_under_way("a", BEGIN + 3 * S)
    assert not window.enter("b", BEGIN + S)
    assert window.next_timer() == BEGIN + 3 * S
    assert window.released(BEGIN + 3 * S, 9) == ["b"]


def test_each_confirmation_lets_one_more_be_on_its_way_up_to_the_size() -> None:
    window = Window(4, 3 * S, 2)
    assert [window.enter(name, BEGIN) for name in "abcdefgh"] == [True, True] + [False] * 6
    window.confirm("a", BEGIN + 1)
    assert window.released(BEGIN + 1, 9) == ["c", "d"]
    window.confirm("b", BEGIN + 2)
    assert window.released(BEGIN + 2, 9) == ["e", "f"]
    window.confirm("c", BEGIN + 3)
    assert window.released(BEGIN + 3, 9) == ["g"]


def test_after_a_silence_it_begins_small_again() -> None:
    window = Window(4, 3 * S, 1)
    for name in "abc":
        window.enter(name, BEGIN)
    window.confirm("a", BEGIN + 1)
    assert window.released(BEGIN + 1, 9) == ["b", "c"]
    for name in "def":
        window.enter(name, BEGIN + 2)
    # Nothing was confirmed since: both are lost, and one alone shows whether anybody listens.
    assert window.next_timer() == BEGIN + 1 + 3 * S
    assert window.released(BEGIN + 1 + 3 * S, 9) == ["d"]


def test_what_nobody_waited_for_makes_no_room() -> None:
    window = Window(4, 3 * S, 1)
    for _ in range(9):
        window.confirm("a", BEGIN)
    assert [window.enter(name, BEGIN) for name in "ab"] == [True, False]


def test_who_leaves_waits_no_more() -> None:
    window = Window(1, 3 * S)
    window.enter("a", BEGIN)
    window.enter("b", BEGIN)
    window.leave("b")
    window.leave("a")
    assert (window.on_their_way, window.queued) == (0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "confirm", "leave", "released"]),
            st.sampled_from("abcdef"),
            st.integers(0, 2 * S),
        ),
        max_size=60,
    ),
    st.sampled_from([None, 1]),
)
def test_it_is_never_over_its_size_and_its_timer_always_brings_somebody(
    steps: list[tuple[str, str, int]], first: int | None
) -> None:
    window, now = Window(2, 3 * S, first), BEGIN
    for step, endpoint, pause in steps:
        now += pause
        if step == "released":
            window.released(now, 9)
        elif step != "enter" or not window.is_queued(endpoint):
            getattr(window, step)(endpoint, *(() if step == "leave" else (now,)))
        assert window.on_their_way <= 2
        due = window.next_timer()
        assert (due is None) == (window.queued == 0)
    due = window.next_timer()
    if due is not None:
        assert window.released(max(now, due), 9)
