"""Contiguous progress against the obvious definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from city_platform.bridge.acknowledgements import ContiguousProgress


@given(start=st.integers(0, 10**12), order=st.permutations(range(12)), taken=st.integers(0, 12))
def test_the_position_is_where_the_first_hole_begins(
    start: int, order: list[int], taken: int
) -> None:
    progress = ContiguousProgress()
    for number in range(12):
        assert progress.receive(start + number)
        assert progress.is_repeated(start + number)
        assert not progress.receive(start + number)
        assert not progress.receive(start + number + 2)
    done = order[:taken]
    for number in done:
        progress.finish(start + number)
        progress.finish(start + number)
    hole = next(n for n in range(13) if n not in done)
    assert progress.contiguous == start + hole - 1
    assert progress.outstanding == 12 - taken


def test_after_a_restart_the_next_event_sets_the_position() -> None:
    progress = ContiguousProgress()
    progress.receive(5)
    progress.restart()
    assert not progress.finish(5)
    assert progress.receive(900)
