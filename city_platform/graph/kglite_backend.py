"""kglite, a Cypher graph in this process's memory: gone with the process, made again at its start.

One thread reads and writes it, first come first served: a writer in a loop starves nobody, and no
reader keeps a snapshot that the next write would have to copy.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from city_platform.graph.backend import GraphUnavailable
from city_platform.graph.queries import Statement
from city_platform.graph.statements import CONSTRAINTS, INDEXES
from city_platform.stores.worker import Worker


class KgliteBackend:
    """`GraphBackend` in memory. The library is loaded at `open`, off the event loop."""

    def __init__(self) -> None:
        self._worker = Worker("device-graph")
        # The package has types for pandas users only.
        self._graph: Any = None

    async def open(self) -> None:
        """See `GraphBackend`."""
        await self._worker.do(self._open)

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """See `GraphBackend`."""
        return await self._worker.do(self.read_now, statement)

    async def write(self, statements: Sequence[Statement]) -> None:
        """See `GraphBackend`. A statement that fails leaves those before it done."""
        await self._worker.do(self._write, statements)

    async def close(self) -> None:
        """See `GraphBackend`."""
        self._worker.close()
        self._graph = None

    def read_now(self, statement: Statement) -> list[Mapping[str, Any]]:
        """`read` in the caller's thread, for measurements."""
        rows: list[Mapping[str, Any]] = self._run(statement).to_list()
        return rows

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
        for text in (*CONSTRAINTS, *INDEXES):
            self._run(Statement(text, {}))

    def _write(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self._run(statement)

    def _run(self, statement: Statement) -> Any:
        if self._graph is None:
            raise GraphUnavailable("the device graph is not open")
        try:
            return self._graph.cypher(statement.text, params=statement.parameters)
        except Exception as error:
            # The library has a dozen families of errors and no common one.
            raise GraphUnavailable(f"kglite refused a statement: {error}") from error
