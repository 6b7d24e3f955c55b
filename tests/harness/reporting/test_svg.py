"""Words over a chart: none touches another, and no marker's line crosses one."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.reporting.scale import Scale
from harness.reporting.svg import Label, Marker, place_labels

X = Scale(0.0, 50.0, 56.0, 926.0)
CHARACTER_WIDTH = 6.0


def _ends(label: Label, marker: Marker) -> float:
    return label.begins + CHARACTER_WIDTH * len(marker.label)


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(Marker, st.floats(0.0, 50.0), st.text("abc", min_size=1, max_size=30)),
        max_size=12,
    )
)
def test_words_keep_clear_of_each_other_and_of_lines(markers: list[Marker]) -> None:
    placed = [
        (marker, label)
        for marker, label in zip(markers, place_labels(markers, X), strict=True)
        if label is not None
    ]
    for (marker, label), (other, its) in combinations(placed, 2):
        if label.row == its.row:
            apart = label.begins >= _ends(its, other) or its.begins >= _ends(label, marker)
            assert apart
        # The line of the upper one goes down through the row of the lower one.
        above, below = ((marker, label), (other, its))
        if above[1].row > below[1].row:
            above, below = below, above
        if above[1].row < below[1].row:
            line = X.place(above[0].x)
            assert not below[1].begins < line < _ends(below[1], below[0])
    assert all(_ends(label, marker) <= X.ends for marker, label in placed)


def test_close_phases_are_staggered_and_what_has_no_room_is_left_out() -> None:
    close = [Marker(10.0 + n / 10, "provisioning") for n in range(4)]
    rows = [label and label.row for label in place_labels(close, X)]
    assert rows == [0, 1, 2, None]


def test_a_word_at_the_right_edge_is_moved_into_the_chart() -> None:
    [label] = place_labels([Marker(49.9, "drain")], X)
    assert label is not None
    assert label.begins < X.place(49.9)


def test_a_marker_that_is_not_named_takes_no_room() -> None:
    kills = [Marker(n / 10, "bridge killed", "kill", is_named=False) for n in range(9)]
    labels = place_labels([*kills, Marker(0.5, "onboarding")], X)
    assert labels == [None] * 9 + [Label(X.place(0.5), 0)]
