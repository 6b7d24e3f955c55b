"""Opens a component's stores as its configuration says: embedded, or an account's on AWS.

What belongs to AWS is imported only by those who use it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from city_platform.stores.aws.config import AwsStores, Stores
from city_platform.stores.object_store import FileObjectStore, ObjectStore
from city_platform.stores.telemetry_store import TelemetryStore
from city_platform.stores.thing_registry import SqliteThingRegistry, ThingRegistry

if TYPE_CHECKING:
    from city_platform.stores.aws.calls import Aws


class _Closes(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Closes)


async def open_object_store(
    stores: Stores, folder: Path, opened: contextlib.AsyncExitStack, chance: Callable[[], float]
) -> ObjectStore:
    """Objects, in `folder` when they are embedded; `opened` closes them."""
    if isinstance(stores, AwsStores):
        from city_platform.stores.aws.opening import open_objects

        return await open_objects(open_account(stores, opened, chance))
    return _closing(opened, FileObjectStore(folder))


async def open_thing_registry(
    stores: Stores, file: Path, opened: contextlib.AsyncExitStack, chance: Callable[[], float]
) -> ThingRegistry:
    """Things, in `file` when they are embedded; `opened` closes them."""
    if isinstance(stores, AwsStores):
        from city_platform.stores.aws.opening import open_things

        return await open_things(open_account(stores, opened, chance))
    return _closing(opened, SqliteThingRegistry(file))


async def open_telemetry_copy(
    stores: Stores,
    own: TelemetryStore,
    window_us: int,
    opened: contextlib.AsyncExitStack,
    chance: Callable[[], float],
) -> TelemetryStore:
    """A component's own store, embedded; or that with DynamoDB, which keeps what was measured."""
    if not isinstance(stores, AwsStores):
        return own
    from city_platform.stores.aws.copied_telemetry import CopiedTelemetryStore
    from city_platform.stores.aws.opening import open_telemetry_table

    table = await open_telemetry_table(open_account(stores, opened, chance))
    return CopiedTelemetryStore(own, table, window_us)


def open_account(
    stores: AwsStores, opened: contextlib.AsyncExitStack, chance: Callable[[], float]
) -> Aws:
    """What calls the account; `opened` closes its connections."""
    from city_platform.stores.aws.calls import Aws

    return Aws(stores, opened, chance)


def _closing(opened: contextlib.AsyncExitStack, found: _C) -> _C:
    opened.callback(found.close)
    return found
