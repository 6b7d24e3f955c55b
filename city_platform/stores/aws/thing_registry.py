"""`ThingRegistry` on AWS IoT Core, with a DynamoDB table for what that has no place for.

| pk | sk | what |
|---|---|---|
| `thing` | name | the thing as it was put, but for its certificate |
| `certificate` | SHA-256 | a certificate, whose it is, and what became of it |
| `member` | group, `\\n`, thing | that a thing is in a group |
| `policy` | name | a policy |
| `rotation`, `removal` | thing | what is to be done: `certificate_register` |

AWS IoT comes first and the table last: a thing that the table knows is complete. DynamoDB has no
transaction over a whole batch: a `put` that failed is repeated, and ends in the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.certificate_register import (
    BY_STATE,
    BY_THING,
    DynamoCertificateRegister,
    certificate_item,
)
from city_platform.stores.aws.iot_core import IotCore, put_all
from city_platform.stores.aws.tables import Item, Table
from city_platform.stores.certificate_register import CertificateRegister
from city_platform.stores.thing_registry import Certificate, Thing
from contracts.policy import Policy

# Things that are made at one time: what their steps may wait for in the account's limits is
# bounded by it.
THINGS_AT_ONCE: Final = 64
_END: Final = "\n"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A thing without its certificate's bytes."""

    type: str
    serial: str
    policy_name: str
    groups: list[str]
    manifest_digest: bytes
    made_for: bytes


class IotThingRegistry:
    """See `ThingRegistry`."""

    def __init__(self, aws: Aws, table: Table) -> None:
        self._table = table
        self._core = IotCore(aws)
        self._register = DynamoCertificateRegister(table, self._core)

    @property
    def register(self) -> CertificateRegister:
        """See `ThingRegistry`."""
        return self._register

    async def put(self, things: Sequence[Thing]) -> None:
        """See `ThingRegistry`. What failed may be there in part until it is repeated."""
        for start in range(0, len(things), THINGS_AT_ONCE):
            await self._put(list(things[start : start + THINGS_AT_ONCE]))

    async def get(self, names: Iterable[str]) -> dict[str, Thing]:
        """See `ThingRegistry`."""
        found = await self._table.get_many(("thing", name) for name in names)
        needed = [("certificate", str(item["certificate"])) for item in found.values()]
        needed += [("policy", _kept(item).policy_name) for item in found.values()]
        others = await self._table.get_many(needed)
        return {name: _thing(name, item, others) for (_, name), item in found.items()}

    async def members(self, group: str) -> list[str]:
        """See `ThingRegistry`."""
        found = await self._table.query("member", begins=group + _END)
        return [str(item["sk"]).partition(_END)[2] for item in found]

    async def groups(self) -> dict[str, int]:
        """See `ThingRegistry`."""
        found = await self._table.query("member")
        counts = Counter(str(item["sk"]).partition(_END)[0] for item in found)
        return dict(sorted(counts.items()))

    async def policy(self, name: str) -> Policy | None:
        """See `ThingRegistry`."""
        item = await self._table.get("policy", name)
        return None if item is None else _policy(item)

    async def names(self, after: str, limit: int) -> list[str]:
        """See `ThingRegistry`."""
        found = await self._table.query("thing", after=after, limit=limit)
        return [str(item["sk"]) for item in found]

    async def count(self) -> int:
        """See `ThingRegistry`."""
        return len(await self._table.query("thing"))

    def close(self) -> None:
        """See `ThingRegistry`: the account's clients are closed by who opened them."""

    async def _put(self, things: list[Thing]) -> None:
        before = await self._table.get_many(("thing", thing.name) for thing in things)
        arns = await put_all(self._core, things)
        own = {one.name: (one.certificate, arns[one.name]) for one in things}
        await self._register.replace(own, before)
        await self._table.put_many(
            list({one.policy_name: _policy_item(one) for one in things}.values())
        )
        await self._put_members(things, before)
        await self._table.put_many([_item(thing) for thing in things])

    async def _put_members(self, things: list[Thing], before: dict[tuple[str, str], Item]) -> None:
        left: list[tuple[str, str]] = []
        for thing in things:
            item = before.get(("thing", thing.name))
            had = set() if item is None else set(_kept(item).groups)
            left += [("member", group + _END + thing.name) for group in had - set(thing.groups)]
        await self._table.delete_many(sorted(left))
        members = {group + _END + thing.name for thing in things for group in thing.groups}
        await self._table.put_many([{"pk": "member", "sk": one} for one in sorted(members)])


def things_table(aws: Aws) -> Table:
    """The registry's table."""
    return Table(aws, aws.config.things_table, (BY_THING, BY_STATE))


def _item(thing: Thing) -> Item:
    kept = _Kept(
        type=thing.type,
        serial=thing.serial,
        policy_name=thing.policy_name,
        groups=thing.groups,
        manifest_digest=thing.manifest_digest,
        made_for=thing.certificate.made_for,
    )
    return {
        "pk": "thing",
        "sk": thing.name,
        "certificate": thing.certificate.sha256,
        "doc": msgspec.json.encode(kept).decode(),
    }


def _kept(item: Item) -> _Kept:
    return msgspec.json.decode(str(item["doc"]), type=_Kept)


def _thing(name: str, item: Item, others: dict[tuple[str, str], Item]) -> Thing:
    kept = _kept(item)
    found = certificate_item(others["certificate", str(item["certificate"])])
    return Thing(
        name=name,
        type=kept.type,
        serial=kept.serial,
        policy_name=kept.policy_name,
        policy=_policy(others["policy", kept.policy_name]),
        groups=sorted(kept.groups),
        certificate=Certificate(
            sha256=found.sha256,
            der=found.der,
            made_for=kept.made_for,
            expires_at_us=found.expires_at_us,
        ),
        manifest_digest=kept.manifest_digest,
    )


def _policy_item(thing: Thing) -> Item:
    return {
        "pk": "policy",
        "sk": thing.policy_name,
        "doc": msgspec.json.encode(thing.policy).decode(),
    }


def _policy(item: Item) -> Policy:
    return msgspec.json.decode(str(item["doc"]), type=Policy)
