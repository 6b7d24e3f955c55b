"""What the device graph asks of a graph database, and how each of them fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from city_platform.graph.queries import GraphQuery, Statement
from contracts.api import FoundDevice


class GraphUnavailable(Exception):
    """The graph database cannot be reached or asked; the text says which and what to do."""


class DeviceChanges(NamedTuple):
    """What a write's statements do to devices: all taken out, then those of `gone`, then put or
    replaced. For backends that keep more of them than the database does."""

    put: Sequence[FoundDevice] = ()
    gone: Sequence[str] = ()
    everything_gone: bool = False


NO_CHANGES = DeviceChanges()


class GraphBackend(Protocol):
    """A Cypher database. All raise `GraphUnavailable`."""

    @property
    def batch_devices(self) -> int:
        """How many devices a write may have, so that searches do not wait long for it."""

    async def open(self) -> None:
        """Connect, or make the graph; its constraints and indexes are made. Safe to call again."""

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """All rows of a statement that changes nothing."""

    async def find(self, query: GraphQuery) -> list[Mapping[str, Any]]:
        """The `document`s of a search's page, by whatever plan this database is quick with; the
        answer is that of `search_statement`."""

    async def write(
        self, statements: Sequence[Statement], changes: DeviceChanges = NO_CHANGES
    ) -> None:
        """Run the statements in order; all of them, or none where the database has
        transactions."""

    async def close(self) -> None:
        """Let go of what is held; safe to call twice."""
