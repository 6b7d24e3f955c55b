"""Neo4j, or whatever else speaks Bolt, by URI, with the official driver."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from city_platform.graph.backend import GraphUnavailable
from city_platform.graph.queries import Statement
from city_platform.graph.statements import CONSTRAINTS, INDEXES

CONNECT_WITHIN_S = 5.0


class BoltBackend:
    """`GraphBackend` of a database that others may ask too. A write is one transaction.

    `password_file` holds `user:password`; None connects without.
    """

    def __init__(self, uri: str, database: str | None, password_file: str | None) -> None:
        self._uri = uri
        self._database = database
        self._password_file = password_file
        # The driver is loaded when it is used: an embedded installation does not have it.
        self._neo4j: Any = None
        self._driver: Any = None
        self._is_prepared = False

    async def open(self) -> None:
        """See `GraphBackend`."""
        if self._driver is None:
            self._neo4j = _load_driver()
            self._driver = self._neo4j.AsyncGraphDatabase.driver(
                self._uri,
                auth=self._read_password(),
                connection_timeout=CONNECT_WITHIN_S,
                # The driver would go on for half a minute; whoever waits is told sooner.
                max_transaction_retry_time=CONNECT_WITHIN_S,
                connection_acquisition_timeout=CONNECT_WITHIN_S,
            )
        if not self._is_prepared:
            for text in (*CONSTRAINTS, *INDEXES):
                # A schema statement is a transaction of its own.
                await self._query(Statement(text, {}))
            self._is_prepared = True

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """See `GraphBackend`."""
        return await self._query(statement)

    async def write(self, statements: Sequence[Statement]) -> None:
        """See `GraphBackend`."""

        async def all_of_them(transaction: Any) -> None:
            for text, parameters in statements:
                result = await transaction.run(text, parameters)
                await result.consume()

        try:
            async with self._session() as session:
                await session.execute_write(all_of_them)
        except Exception as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """See `GraphBackend`."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    async def _query(self, statement: Statement) -> list[Mapping[str, Any]]:
        try:
            async with self._session() as session:
                result = await session.run(statement.text, statement.parameters)
                return [record.data() async for record in result]
        except Exception as error:
            raise self._unavailable(error) from error

    def _session(self) -> Any:
        if self._driver is None:
            raise GraphUnavailable("the device graph is not open")
        return self._driver.session(database=self._database)

    def _unavailable(self, error: Exception) -> GraphUnavailable:
        if isinstance(error, GraphUnavailable):
            return error
        return GraphUnavailable(f"the graph database at {self._uri} failed: {error}")

    def _read_password(self) -> tuple[str, str] | None:
        if self._password_file is None:
            return None
        try:
            user, colon, password = (
                Path(self._password_file).read_text(encoding="utf-8").strip().partition(":")
            )
        except (OSError, UnicodeDecodeError) as error:
            raise GraphUnavailable(f"cannot read {self._password_file}: {error}") from None
        if not colon or not user:
            raise GraphUnavailable(f"{self._password_file} does not hold user:password")
        return user, password


def _load_driver() -> Any:
    try:
        return importlib.import_module("neo4j")
    except ImportError as error:
        raise GraphUnavailable("graph_uri needs the package neo4j: pip install neo4j") from error
