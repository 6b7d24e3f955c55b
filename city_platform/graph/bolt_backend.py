"""Neo4j, or whatever else speaks Bolt, by URI, with the official driver."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from city_platform.graph.backend import NO_CHANGES, DeviceChanges, GraphUnavailable
from city_platform.graph.queries import GraphQuery, Statement, search_statement
from city_platform.graph.statements import CONSTRAINTS, INDEXES

CONNECT_WITHIN_S: Final = 5.0
# A database that hangs is told from one that is slow: the slowest search over 100,000 devices takes
# less than a second, and a write of `BATCH_DEVICES` a few.
ANSWER_WITHIN_S: Final = 20.0
WRITTEN_WITHIN_S: Final = 60.0
BATCH_DEVICES: Final = 500


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
        # Of what a query might do better nothing is said: each notice costs a log line.
        self._filters_notices = True

    @property
    def batch_devices(self) -> int:
        """See `GraphBackend`."""
        return BATCH_DEVICES

    async def open(self) -> None:
        """See `GraphBackend`."""
        if self._driver is None:
            self._driver = self._make_driver()
        if self._is_prepared:
            return
        try:
            await self._prepare()
        except GraphUnavailable as error:
            if not self._cannot_filter(error):
                raise
            await self.close()
            self._filters_notices = False
            self._driver = self._make_driver()
            await self._prepare()
        self._is_prepared = True

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        """See `GraphBackend`."""
        return await self._query(statement)

    async def find(self, query: GraphQuery) -> list[Mapping[str, Any]]:
        """See `GraphBackend`: the database has indexes and a planner of its own."""
        return await self._query(search_statement(query))

    async def write(
        self, statements: Sequence[Statement], changes: DeviceChanges = NO_CHANGES
    ) -> None:
        """See `GraphBackend`."""

        async def all_of_them(transaction: Any) -> None:
            for text, parameters in statements:
                result = await transaction.run(text, parameters)
                await result.consume()

        try:
            async with asyncio.timeout(WRITTEN_WITHIN_S), self._session() as session:
                await session.execute_write(all_of_them)
        except Exception as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """See `GraphBackend`."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    def _make_driver(self) -> Any:
        self._neo4j = _load_driver()
        return self._neo4j.AsyncGraphDatabase.driver(
            self._uri,
            auth=self._read_password(),
            connection_timeout=CONNECT_WITHIN_S,
            # The driver would go on for half a minute; whoever waits is told sooner.
            max_transaction_retry_time=CONNECT_WITHIN_S,
            connection_acquisition_timeout=CONNECT_WITHIN_S,
            **({"notifications_min_severity": "OFF"} if self._filters_notices else {}),
        )

    async def _prepare(self) -> None:
        for text in (*CONSTRAINTS, *INDEXES):
            # A schema statement is a transaction of its own.
            await self._query(Statement(text, {}))

    def _cannot_filter(self, error: GraphUnavailable) -> bool:
        """Whether the database speaks a Bolt before 5.2, which knows no filter of notices: the
        driver then refuses to ask at all."""
        refused = isinstance(error.__cause__, self._neo4j.exceptions.ConfigurationError)
        return self._filters_notices and refused

    async def _query(self, statement: Statement) -> list[Mapping[str, Any]]:
        # A connection of before the database's restart is found dead by whoever asks first: that
        # one asks again, on a new one.
        for is_last in (False, True):
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S), self._session() as session:
                    result = await session.run(statement.text, statement.parameters)
                    return [record.data() async for record in result]
            except Exception as error:
                if is_last or not self._is_lost(error):
                    raise self._unavailable(error) from error
        raise AssertionError("the last try returns or raises")

    def _is_lost(self, error: Exception) -> bool:
        """Whether it is the connection that failed."""
        lost = self._neo4j and (
            self._neo4j.exceptions.ServiceUnavailable,
            self._neo4j.exceptions.SessionExpired,
        )
        return bool(lost) and isinstance(error, lost)

    def _session(self) -> Any:
        if self._driver is None:
            raise GraphUnavailable("the device graph is not open")
        return self._driver.session(database=self._database)

    def _unavailable(self, error: Exception) -> GraphUnavailable:
        if isinstance(error, GraphUnavailable):
            return error
        what = "did not answer in time" if isinstance(error, TimeoutError) else f"failed: {error}"
        return GraphUnavailable(f"the graph database at {self._uri} {what}")

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
