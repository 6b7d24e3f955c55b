"""kglite, a Cypher graph in this process's memory: gone with the process, made again at its start.

One thread reads and writes it, first come first served: a writer in a loop starves nobody, and no
reader keeps a snapshot that the next write would have to copy. A search takes candidates from an
index beside the graph (`search_index`) and asks the graph for these alone; both change in the same
turn of that thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from city_platform.graph.backend import NO_CHANGES, DeviceChanges, GraphUnavailable
from city_platform.graph.queries import PAGE_MAX, GraphQuery, Statement, search_statement
from city_platform.graph.search_index import SearchIndex
from city_platform.graph.statements import CONSTRAINTS
from city_platform.stores.worker import Worker

# A write of these takes some 5 ms of a core; a search waits for one at most.
BATCH_DEVICES: Final = 16
# So many candidates are asked for at once at least: a statement costs as much as 30 of them.
CANDIDATES_MIN: Final = 32


class KgliteBackend:
    """`GraphBackend` in memory. The library is loaded at `open`, off the event loop."""

    def __init__(self) -> None:
        self._worker = Worker("device-graph")
        self._index = SearchIndex()
        # The package has types for pandas users only.
        self._graph: Any = None

    @property
    def batch_devices(self) -> int:
        """See `GraphBackend`."""
        return BATCH_DEVICES

    async def open(self) -> None:
        """See `GraphBackend`."""
        await self._worker.do(self._open)

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """See `GraphBackend`."""
        return await self._worker.do(self.read_now, statement)

    async def find(self, query: GraphQuery) -> list[Mapping[str, Any]]:
        """See `GraphBackend`."""
        return await self._worker.do(self.find_now, query)

    async def write(
        self, statements: Sequence[Statement], changes: DeviceChanges = NO_CHANGES
    ) -> None:
        """See `GraphBackend`. A statement that fails leaves those before it done; what is put
        again repairs that."""
        await self._worker.do(self._write, statements, changes)

    async def close(self) -> None:
        """See `GraphBackend`."""
        self._worker.close()
        self._graph = None
        self._index.clear()

    def read_now(self, statement: Statement) -> list[Mapping[str, Any]]:
        """`read` in the caller's thread, for measurements."""
        rows: list[Mapping[str, Any]] = self._run(statement).to_list()
        return rows

    def find_now(self, query: GraphQuery) -> list[Mapping[str, Any]]:
        """`find` in the caller's thread, for measurements."""
        wanted = max(1, min(query.limit, PAGE_MAX))
        found: list[Mapping[str, Any]] = []
        for names in _by_need(self._index.candidates(query), wanted):
            rest = msgspec.structs.replace(query, limit=wanted - len(found))
            found += self.read_now(search_statement(rest, among=names))
            if len(found) >= wanted:
                break
        return found

    def _open(self) -> None:
        if self._graph is not None:
            return
        try:
            kglite = importlib.import_module("kglite")
        except ImportError as error:
            raise GraphUnavailable(
                "the embedded device graph needs the package kglite: pip install kglite, or set "
                "graph_uri to a Neo4j"
            ) from error
        self._graph = kglite.KnowledgeGraph()
        # Its warnings go to standard error, where the component's log is.
        kglite.set_query_warning_policy("silent")
        # No indexes: the one beside the graph answers what they would, and they cost a third of
        # the time of filling.
        for text in CONSTRAINTS:
            self._run(Statement(text, {}))

    def _write(self, statements: Sequence[Statement], changes: DeviceChanges) -> None:
        if changes.everything_gone:
            self._index.clear()
        for statement in statements:
            self._run(statement)
        self._index.change(changes.put, changes.gone)

    def _run(self, statement: Statement) -> Any:
        if self._graph is None:
            raise GraphUnavailable("the device graph is not open")
        try:
            return self._graph.cypher(statement.text, params=statement.parameters)
        except Exception as error:
            # The library has a dozen families of errors and no common one.
            raise GraphUnavailable(f"kglite refused a statement: {error}") from error


def _by_need(candidates: Iterator[list[str]], wanted: int) -> Iterator[list[str]]:
    """The same names in the same order, first as many as are wanted, then ever more: where many
    candidates do not fit, as around a circle's corners, a statement for few would be in vain."""
    size, waiting = max(wanted, CANDIDATES_MIN), list[str]()
    for names in candidates:
        waiting += names
        while len(waiting) >= size:
            yield waiting[:size]
            waiting, size = waiting[size:], min(2 * size, PAGE_MAX * 4)
    if waiting:
        yield waiting
