"""The device graph in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from city_platform.graph import GraphUnavailable, KgliteBackend
from city_platform.graph.backend import GraphBackend
from city_platform.graph.queries import Statement
from tests.city_platform.graph import stories


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
