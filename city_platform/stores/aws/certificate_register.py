"""`CertificateRegister` in the registry's table: every certificate is an item that says what became
of it; what AWS IoT must know of it (revoked, elapsed) it is told first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import msgspec

from city_platform.stores.aws.iot_core import CertificateStatus, IotCore
from city_platform.stores.aws.tables import Index, Item, Table
from city_platform.stores.certificate_register import (
    LIST_LIMIT_MAX,
    CertificateQuery,
    CertificateRecord,
    Removal,
)
from city_platform.stores.certificate_states import CertificateEvent, next_state
from city_platform.stores.thing_registry import Certificate
from contracts.api import CertificateState, RevocationReason

BY_THING: Final = Index("by_thing", "thing", "sk")
BY_STATE: Final = Index("by_state", "certificate_state", "sk")

# What AWS IoT is told of an event; a superseded certificate stays good for its overlap.
_STATUS: Final[dict[CertificateEvent, CertificateStatus]] = {
    "revoked": "REVOKED",
    "lifetime_elapsed": "INACTIVE",
}


class DynamoCertificateRegister:
    """See `CertificateRegister`."""

    def __init__(self, table: Table, core: IotCore) -> None:
        self._table = table
        self._core = core

    async def certificates(self, query: CertificateQuery) -> list[CertificateRecord]:
        """See `CertificateRegister`."""
        if query.thing is not None:
            found = await self._of_thing(query.thing)
        elif query.state is not None:
            found = await self._table.query_index("by_state", query.state)
        else:
            found = await self._table.query("certificate", after=query.after)
        # An index lags behind: what it says is looked up again.
        fresh = await self._fresh(found)
        wanted = sorted((one for one in fresh if _is_wanted(one, query)), key=_digest)
        return wanted[: max(1, min(query.limit, LIST_LIMIT_MAX))]

    async def certificate(self, sha256: str) -> CertificateRecord | None:
        """See `CertificateRegister`."""
        item = await self._table.get("certificate", sha256)
        return None if item is None else certificate_item(item)

    async def note_superseded(self, sha256s: Sequence[str], at_us: int) -> None:
        """See `CertificateRegister`."""
        found = await self._table.get_many(("certificate", one) for one in sha256s)
        untold = [item for item in found.values() if not item.get("since_us")]
        await self._table.put_many(
            [{**item, "certificate_state": "superseded", "since_us": at_us} for item in untold]
        )

    async def tell(
        self,
        sha256s: Sequence[str],
        event: CertificateEvent,
        at_us: int,
        reason: RevocationReason | None = None,
    ) -> None:
        """See `CertificateRegister`. None is told when one of them cannot be."""
        found = await self._table.get_many(("certificate", one) for one in sha256s)
        changed: list[Item] = []
        for sha256 in dict.fromkeys(sha256s):
            item = found.get(("certificate", sha256))
            if item is None:
                raise KeyError(sha256)
            state = next_state(certificate_item(item).state, event)
            changed.append(
                {**item, "certificate_state": state, "since_us": at_us, "reason": reason or ""}
            )
        status = _STATUS.get(event)
        if status is not None:
            for item in changed:
                await self._core.set_status(str(item["arn"]), status)
        await self._table.put_many(changed)

    async def blocked(self, things: Iterable[str]) -> set[str]:
        """See `CertificateRegister`."""
        found = await self._table.get_many(("thing", name) for name in things)
        own = {name: ("certificate", str(item["certificate"])) for (_, name), item in found.items()}
        certificates = await self._table.get_many(own.values())
        return {
            name
            for name, key in own.items()
            if key in certificates and certificate_item(certificates[key]).state == "revoked"
        }

    async def add_rotations(self, things: Sequence[str]) -> None:
        """See `CertificateRegister`."""
        await self._table.put_many([{"pk": "rotation", "sk": one} for one in dict.fromkeys(things)])

    async def rotations(self, limit: int) -> list[str]:
        """See `CertificateRegister`."""
        return [str(item["sk"]) for item in await self._table.query("rotation", limit=limit)]

    async def end_rotations(self, things: Sequence[str]) -> None:
        """See `CertificateRegister`."""
        await self._table.delete_many(("rotation", one) for one in dict.fromkeys(things))

    async def begin_removal(self, thing: str, who: str) -> Removal:
        """See `CertificateRegister`."""
        item: Item = {"pk": "removal", "sk": thing, "who": who, "steps_done": 0}
        before = await self._table.put_if(item, "attribute_not_exists(pk)", {})
        return _removal(before or item)

    async def end_removal_step(self, thing: str, steps_done: int) -> None:
        """See `CertificateRegister`."""
        item = await self._table.get("removal", thing)
        if item is not None:
            await self._table.put_many([{**item, "steps_done": steps_done}])

    async def removals(self) -> list[Removal]:
        """See `CertificateRegister`."""
        return [_removal(item) for item in await self._table.query("removal")]

    async def end_removal(self, thing: str) -> None:
        """See `CertificateRegister`. Access goes first, the removal itself last."""
        item = await self._table.get("thing", thing)
        if item is not None:
            kept = msgspec.json.decode(str(item["doc"]))
            await self._core.remove(thing, kept["policy_name"])
            await self.replace({}, {("thing", thing): item})
            groups = [("member", f"{group}\n{thing}") for group in kept["groups"]]
            await self._table.delete_many(
                [*groups, ("policy", kept["policy_name"]), ("rotation", thing), ("thing", thing)]
            )
        await self._table.delete_many([("removal", thing)])

    async def replace(
        self,
        certificates: Mapping[str, tuple[Certificate, str]],
        before: Mapping[tuple[str, str], Item],
    ) -> None:
        """Things have these certificates (with AWS's ARN) now; `before` are things' items until
        now, also of such that have none any more."""
        keys = [("certificate", one.sha256) for one, _ in certificates.values()]
        keys += [("certificate", str(item["certificate"])) for item in before.values()]
        known = await self._table.get_many(keys)
        writes: dict[str, Item] = {}
        for item in before.values():
            old = known.get(("certificate", str(item["certificate"])))
            if old is not None and old["certificate_state"] == "active":
                writes[str(old["sk"])] = {**old, "certificate_state": "superseded"}
        for thing, (one, arn) in certificates.items():
            item = _new_item(thing, one, known.get(("certificate", one.sha256)))
            writes[one.sha256] = {**item, "arn": arn}
        await self._table.put_many(list(writes.values()))

    async def _of_thing(self, thing: str) -> list[Item]:
        found = await self._table.query_index("by_thing", thing)
        item = await self._table.get("thing", thing)
        if item is not None:
            # Its own is known at once, whatever the index has.
            own = await self._table.get("certificate", str(item["certificate"]))
            known = {one["sk"] for one in found}
            found += [own] if own is not None and own["sk"] not in known else []
        return found

    async def _fresh(self, found: list[Item]) -> list[CertificateRecord]:
        keys = [("certificate", str(item["sk"])) for item in found]
        items = await self._table.get_many(keys)
        return [certificate_item(item) for item in items.values()]


def certificate_item(item: Item) -> CertificateRecord:
    """A certificate as its item says."""
    der, expires_at_us, since_us = item["der"], item["expires_at_us"], item.get("since_us", 0)
    assert isinstance(der, bytes)
    assert isinstance(expires_at_us, int)
    return CertificateRecord(
        sha256=str(item["sk"]),
        thing=str(item["thing"]),
        der=der,
        expires_at_us=expires_at_us,
        state=cast(CertificateState, item["certificate_state"]),
        since_us=since_us if isinstance(since_us, int) else 0,
        reason=str(item.get("reason", "")),
    )


def _new_item(thing: str, certificate: Certificate, before: Item | None) -> Item:
    item: Item = {
        "pk": "certificate",
        "sk": certificate.sha256,
        "thing": thing,
        "der": certificate.der,
        "expires_at_us": certificate.expires_at_us,
        "certificate_state": "active",
        "since_us": 0,
        "reason": "",
    }
    if before is not None and before.get("since_us"):
        # What was told of it stays.
        for name in ("certificate_state", "since_us", "reason"):
            item[name] = before[name]
    return item


def _is_wanted(record: CertificateRecord, query: CertificateQuery) -> bool:
    return (
        record.sha256 > query.after
        and query.thing in (None, record.thing)
        and query.state in (None, record.state)
        and (query.expires_before_us is None or record.expires_at_us < query.expires_before_us)
        and (query.since_before_us is None or record.since_us < query.since_before_us)
    )


def _digest(record: CertificateRecord) -> str:
    return record.sha256


def _removal(item: Item) -> Removal:
    steps_done = item["steps_done"]
    return Removal(
        str(item["sk"]), str(item["who"]), steps_done if isinstance(steps_done, int) else 0
    )
