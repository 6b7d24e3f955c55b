"""The device graph in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.graph import DeviceGraph, GraphQuery, GraphUnavailable, KgliteBackend
from city_platform.graph.backend import DeviceChanges, GraphBackend
from city_platform.graph.queries import Statement
from city_platform.graph.statements import DELETE_DEVICES
from tests.city_platform.graph import stories
from tests.city_platform.graph.city import city


def told(story: Callable[[GraphBackend], Awaitable[None]]) -> None:
    async def with_backend() -> None:
        backend = KgliteBackend()
        try:
            await story(backend)
        finally:
            await backend.close()

    asyncio.run(with_backend())


@pytest.mark.slow
def test_generated_questions_are_answered_as_by_plain_python() -> None:
    told(lambda backend: stories.answers_as_the_oracle(backend, devices=2_500, questions=400))


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_changes_keep_answers_right(seed: int) -> None:
    told(lambda backend: stories.changes_keep_answers_right(backend, seed, steps=4))


@pytest.mark.slow
def test_relations_are_followed() -> None:
    told(stories.relations_are_followed)


def test_how_far_the_graph_has_come_is_kept_with_what_it_has() -> None:
    told(stories.a_projection_is_kept)


def test_what_is_not_cypher_is_refused_with_one_error() -> None:
    async def story(backend: GraphBackend) -> None:
        with pytest.raises(GraphUnavailable, match="not open"):
            await backend.read(Statement("MATCH (d:Device) RETURN d", {}))
        await backend.open()
        await backend.open()
        with pytest.raises(GraphUnavailable, match="kglite refused"):
            await backend.read(Statement("MATCH (", {}))

    told(story)


def test_neither_readers_nor_writers_wait_for_more_than_a_turn_of_each_other() -> None:
    """First come, first served: a writer in a loop lets every search in, and the other way."""

    async def story(backend: GraphBackend) -> None:
        graph, done = DeviceGraph(backend), list[str]()
        await graph.open()
        await graph.clear(stories.BEGUN)
        devices = city(graph.batch_devices)

        async def writes() -> None:
            for revision in range(6):
                await graph.put(devices, [], stories.BEGUN._replace(revision=revision))
                done.append("w")

        async def searches() -> None:
            for _ in range(6):
                await graph.search(GraphQuery(text="kade"))
                done.append("r")

        await asyncio.gather(writes(), searches(), searches())
        order = "".join(done)
        assert "ww" not in order.rstrip("w")
        # A write is two turns: it looks at what is there, and writes.
        assert "rrrrr" not in order.rstrip("r")

    told(story)


def test_a_write_that_failed_in_its_middle_is_repaired_by_the_same_again() -> None:
    async def story(backend: GraphBackend) -> None:
        graph, devices = DeviceGraph(backend), city(20)
        await graph.open()
        await graph.put(devices[:10], [], stories.BEGUN)
        with pytest.raises(GraphUnavailable):
            await backend.write(
                [
                    Statement(DELETE_DEVICES, {"ids": [devices[0].endpoint]}),
                    Statement("MATCH (", {}),
                ],
                DeviceChanges(gone=[devices[0].endpoint]),
            )
        # Half done: what is not there any more is not answered, whatever the index says.
        assert len(await graph.search(GraphQuery())) == 9
        for _ in range(2):
            await graph.put(devices[10:], [devices[0].endpoint], stories.BEGUN)
        found = [one.endpoint for one in await graph.search(GraphQuery())]
        assert found == sorted(one.endpoint for one in devices[1:])

    told(story)
