"""The index beside the graph in memory: candidates are never too few, come in order, and few."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.graph.devices import found_device
from city_platform.graph.queries import GraphQuery
from city_platform.graph.search_index import SearchIndex
from city_platform.graph.signatures import Marker, planes_of_text, planes_of_value, signature
from city_platform.stores.device_directory import Box
from contracts.api import FoundDevice
from tests.city_platform.graph.city import answer, city, entry, fits, question

LATITUDES = st.floats(-90, 90) | st.sampled_from((-90.0, 0.0, 52.1, 52.3, 90.0))
LONGITUDES = st.floats(-180, 180) | st.sampled_from((-180.0, -179.95, 0.0, 4.9, 179.95, 180.0))
DEVICE = city(1)[0]


def names(index: SearchIndex, query: GraphQuery) -> list[str]:
    """All candidates; asserts that they come in order."""
    found = [name for names in index.candidates(query) for name in names]
    assert found == sorted(set(found))
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((2, 3, 8, 64)))
def test_after_any_puts_replacements_and_deletions_all_that_fit_are_candidates(
    seed: int, block_devices: int
) -> None:
    chance = random.Random(seed)
    index, there = SearchIndex(block_devices), dict[str, FoundDevice]()
    for _ in range(chance.randint(1, 6)):
        numbers = [chance.randrange(60) for _ in range(chance.randint(0, 40))]
        put = {one.endpoint: one for one in (found_device(entry(n, chance), None) for n in numbers)}
        gone = chance.sample(sorted(there), min(len(there), chance.randint(0, 30)))
        index.change(put.values(), [*gone, "nobody"])
        for name in gone:
            there.pop(name, None)
        there |= put
        assert len(index) == len(there)
        assert names(index, GraphQuery()) == sorted(there)
        if not there:
            continue
        devices = list(there.values())
        for _ in range(3):
            query = msgspec.structs.replace(question(chance, devices), limit=1_000)
            assert set(answer(query, devices)) <= set(names(index, query))
    index.clear()
    assert names(index, GraphQuery()) == []


@pytest.mark.slow
def test_candidates_are_little_more_than_what_fits() -> None:
    devices = city(3_000)
    index, chance = SearchIndex(), random.Random(4)
    index.change(devices, ())
    asked = fitting = candidates = 0
    for _ in range(200):
        query = msgspec.structs.replace(question(chance, devices), limit=1_000, after="")
        fitting += sum(fits(query, found) for found in devices)
        candidates += len(names(index, query))
        asked += 1
    # Eight of a thousand devices a question, beside those that fit.
    assert candidates - fitting < asked * len(devices) * 0.008


@settings(deadline=None)
@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_who_stands_in_a_box_or_on_its_edge_is_in_its_strips(
    latitude: float, longitude: float, south: float, west: float, north: float, east: float
) -> None:
    box = Box(south=min(south, north), north=max(south, north), west=west, east=east)
    query = GraphQuery(box=box)
    device = msgspec.structs.replace(DEVICE, latitude=latitude, longitude=longitude)
    marked = set(Marker().planes(device))
    chosen = all(
        any(marked.issuperset(member) for member in choice) for choice in signature(query).choices
    )
    assert chosen or not fits(query, device)


@settings(deadline=None)
@given(st.text(), st.integers(0, 100), st.integers(0, 100))
def test_a_part_of_a_text_marks_no_plane_that_the_text_does_not(
    text: str, start: int, end: int
) -> None:
    folded = text.casefold()
    assert planes_of_text(folded[start:end]) <= planes_of_text(folded)


def test_planes_are_the_same_at_every_start() -> None:
    assert planes_of_value("tenant", "harbour") == (474, 385, 6)


def test_a_value_that_no_text_encodes_is_taken_all_the_same() -> None:
    assert len(planes_of_value("", "\ud800")) == 3


@pytest.mark.parametrize("size", [0, 1, 1_025])
def test_a_block_of_a_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a block holds"):
        SearchIndex(size)
