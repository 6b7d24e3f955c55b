"""Object paths: one name for one thing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.errors import IllegalPath
from lwm2m.objects import ObjectPath

IDS = st.integers(0, 65534)
PATHS = st.lists(IDS, min_size=1, max_size=4).map(lambda levels: ObjectPath(*levels))


@given(PATHS)
def test_the_text_of_a_path_names_it(path: ObjectPath) -> None:
    assert ObjectPath.parse(str(path)) == path
    assert ObjectPath.of_segments(path.segments) == path


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_illegal(text: str) -> None:
    with contextlib.suppress(IllegalPath):
        assert str(ObjectPath.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "3/0",
        "/3/",
        "/3//1",
        "/03",
        "/65535",
        "/-1",
        "/3/0/1/2/3",
        "/٣",
        "/1e3",
        "/+3",
        "//",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(IllegalPath):
        ObjectPath.parse(text)


def test_levels_above_and_below() -> None:
    path = ObjectPath(3, 0, 6, 1)
    assert (str(path.object), str(path.instance), str(path.resource)) == ("/3", "/3/0", "/3/0/6")
    assert [found.depth for found in (path.object, path.instance, path.resource, path)] == [
        1,
        2,
        3,
        4,
    ]
    assert path.resource.child(1) == path
    with pytest.raises(IllegalPath, match="no levels below"):
        path.child(0)


def test_a_path_contains_itself_and_what_is_beneath() -> None:
    instance = ObjectPath(3, 0)
    assert instance.contains(instance)
    assert instance.contains(ObjectPath(3, 0, 6, 1))
    assert not instance.contains(ObjectPath(3, 1, 6))
    assert not instance.contains(ObjectPath(3))


def test_paths_sort_by_their_numbers() -> None:
    assert sorted([ObjectPath(10, 0), ObjectPath(3, 0), ObjectPath(3, 2)]) == [
        ObjectPath(3, 0),
        ObjectPath(3, 2),
        ObjectPath(10, 0),
    ]
