"""What an entry point works with: the installation's account, tables, topics, clock and chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.config import AwsStores
from city_platform.stores.aws.object_store import S3ObjectStore
from city_platform.stores.aws.tables import Item, Table
from city_platform.stores.aws.thing_registry import things_table
from contracts.topics import Topics
from runtime.clock import Clock

QOS: Final = 1


class WrongEnvironment(ValueError):
    """A variable of the function's environment is missing or wrong; the text says which."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the template puts into a function's environment."""

    stores: AwsStores
    topics: Topics = Topics()
    nosec_allowed: bool = False


class Installation:
    """One installation's stores, for the length of a function's process."""

    def __init__(
        self, environment: Environment, aws: Aws, clock: Clock, draw: Callable[[int], bytes]
    ) -> None:
        self.environment = environment
        self.topics = environment.topics
        self.clock = clock
        self.draw = draw
        self.objects = S3ObjectStore(aws)
        self.things = things_table(aws)
        self.telemetry = Table(aws, aws.config.telemetry_table)
        self._aws = aws

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish one message; what AWS IoT has taken, it delivers at least once."""
        await self._aws.call("iot-data", "publish", topic=topic, qos=QOS, payload=payload)

    async def thing(self, endpoint: str) -> Item | None:
        """The registry's item of a device, None when nobody provisioned it."""
        return await self.things.get("thing", endpoint)

    async def tenants(self, endpoints: list[str]) -> dict[str, str]:
        """The tenant of each that is provisioned."""
        found = await self.things.get_many(("thing", name) for name in endpoints)
        return {name: tenant_of(item) for (_, name), item in found.items()}


def tenant_of(item: Item) -> str:
    """Whose a thing is: of its groups the one that is no part of another (`tenant/site`)."""
    groups: list[str] = msgspec.json.decode(str(item["doc"]))["groups"]
    return next((one for one in groups if "/" not in one), "")


def read_environment(variables: Mapping[str, str]) -> Environment:
    """The environment of a function. Raises `WrongEnvironment`."""
    names = ("AWS_REGION", "LAMPLIGHTER_BUCKET", "LAMPLIGHTER_NAME")
    for name in names:
        if not variables.get(name):
            raise WrongEnvironment(f"{name} is not set: see deploy/aws/template.yaml")
    region, bucket, installation = (variables[name] for name in names)
    endpoints = variables.get("LAMPLIGHTER_ENDPOINTS", "{}")
    topics = variables.get("LAMPLIGHTER_TOPICS", "{}")
    try:
        return Environment(
            stores=AwsStores(
                region=region,
                bucket=bucket,
                name=installation,
                prefix=variables.get("LAMPLIGHTER_PREFIX", ""),
                endpoints=msgspec.json.decode(endpoints, type=dict[str, str]),
            ),
            topics=msgspec.json.decode(topics, type=Topics),
        )
    except msgspec.DecodeError as error:
        raise WrongEnvironment(f"LAMPLIGHTER_ENDPOINTS or LAMPLIGHTER_TOPICS: {error}") from None
