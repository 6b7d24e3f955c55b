"""Opens the stores of an account, and makes what they need where the configuration says so."""

from __future__ import annotations

from collections.abc import Callable

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.delivery_stream import DeliveryStream
from city_platform.stores.aws.object_store import S3ObjectStore
from city_platform.stores.aws.streamed_archive import StreamedArchive
from city_platform.stores.aws.tables import Table
from city_platform.stores.aws.telemetry_store import DynamoTelemetryStore
from city_platform.stores.aws.thing_registry import IotThingRegistry, things_table
from city_platform.stores.object_store import ObjectStore


async def open_objects(aws: Aws) -> ObjectStore:
    """The account's object store, the archive by way of its stream when it has one. Raises
    `AwsError`."""
    store = S3ObjectStore(aws)
    if aws.config.create_missing:
        await store.make_bucket()
    if aws.config.archive_stream is None:
        return store
    return StreamedArchive(store, DeliveryStream(aws, aws.config.archive_stream))


async def open_things(aws: Aws) -> IotThingRegistry:
    """The account's thing registry. Raises `AwsError`."""
    table = things_table(aws)
    if aws.config.create_missing:
        await table.make()
    return IotThingRegistry(aws, table)


async def open_telemetry(
    aws: Aws, *, now_ns: Callable[[], int], window_us: int = 600_000_000
) -> DynamoTelemetryStore:
    """The account's telemetry store, taken over. Raises `AwsError`."""
    table = await open_telemetry_table(aws)
    return await DynamoTelemetryStore.open(table, now_ns=now_ns, window_us=window_us)


async def open_telemetry_table(aws: Aws) -> Table:
    """The table of readings and alarms. Raises `AwsError`."""
    table = Table(aws, aws.config.telemetry_table)
    if aws.config.create_missing:
        await table.make()
    return table
