"""What the device graph asks of a graph database, and how each of them fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from city_platform.graph.queries import Statement


class GraphUnavailable(Exception):
    """The graph database cannot be reached or asked; the text says which and what to do."""


class GraphBackend(Protocol):
    """A Cypher database. All raise `GraphUnavailable`."""

    async def open(self) -> None:
        """Connect, or make the graph; its constraints and indexes are made. Safe to call again."""

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """All rows of a statement that changes nothing."""

    async def write(self, statements: Sequence[Statement]) -> None:
        """Run the statements in order; all of them, or none where the database has
        transactions."""

    async def close(self) -> None:
        """Let go of what is held; safe to call twice."""
