"""What every thing registry does, embedded and on AWS IoT Core."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.stores.certificate_register import CertificateQuery, Removal
from city_platform.stores.certificate_states import ImpossibleCertificateEvent
from city_platform.stores.thing_registry import (
    Certificate,
    SqliteThingRegistry,
    Thing,
    ThingRegistry,
)
from contracts.names import Principal
from contracts.policy import policy_for
from contracts.topics import Topics
from tests.city_platform.stores.aws.emulators import account, installation

Story = Callable[[ThingRegistry], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture(
    params=["embedded", pytest.param("aws", marks=[pytest.mark.moto, pytest.mark.slow])]
)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Tell:
    """Runs a story with an empty registry."""
    url = request.getfixturevalue("moto") if request.param == "aws" else None

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ThingRegistry]:
        if url is None:
            registry = SqliteThingRegistry(tmp_path / "things.sqlite")
            yield registry
            registry.close()
            return
        from city_platform.stores.aws.opening import open_things

        async with account(installation(url)) as aws:
            yield await open_things(aws)

    async def with_registry(story: Story) -> None:
        async with opened() as registry:
            await story(registry)

    return lambda story: asyncio.run(with_registry(story))


def certificate(name: str, number: int = 1) -> Certificate:
    """A real one: AWS reads it."""
    return _certificate(name, number)


@cache  # A signature has chance in it.
def _certificate(name: str, number: int) -> Certificate:
    key = ec.derive_private_key(1_000_003 * number + len(name), ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=3_650))
        .sign(key, hashes.SHA256())
    )
    der = made.public_bytes(serialization.Encoding.DER)
    return Certificate(
        sha256=hashlib.sha256(der).hexdigest(),
        der=der,
        made_for=b"\x00made for",
        expires_at_us=1_000 * number,
    )


def thing(name: str, *, number: int = 1, groups: tuple[str, ...] = ("harbour",)) -> Thing:
    return Thing(
        name=name,
        type="street_lamp",
        serial="SN 1/Ω",
        policy_name=f"device:{name}",
        policy=policy_for(Principal("device", name), Topics()),
        groups=list(groups),
        certificate=certificate(name, number),
        manifest_digest=b"\xffdigest",
    )


def test_things_come_back_as_they_were_put(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        put = [thing("urn:dev:a", groups=("g1", "g1/quay", "g2")), thing("b_1", groups=("g1",))]
        await registry.put(put)
        assert await registry.get(["urn:dev:a", "b_1", "none"]) == {one.name: one for one in put}
        assert await registry.count() == 2
        assert await registry.policy("device:b_1") == put[1].policy
        assert await registry.policy("none") is None
        await registry.put(put)
        assert await registry.get(["b_1"]) == {"b_1": put[1]}

    tell(story)


def test_a_thing_leaves_the_groups_that_it_has_no_more(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        await registry.put([thing("a", groups=("g1", "g2")), thing("b", groups=("g1",))])
        assert await registry.members("g1") == ["a", "b"]
        assert await registry.groups() == {"g1": 2, "g2": 1}
        await registry.put([thing("a", groups=("g2", "g3"))])
        assert await registry.members("g1") == ["b"]
        assert await registry.groups() == {"g1": 1, "g2": 1, "g3": 1}
        assert await registry.members("none") == []

    tell(story)


def test_names_go_on_behind_the_last(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        await registry.put([thing(name) for name in ("b", "B", "a:1", "a-1", "a")])
        assert await registry.names("", 3) == ["B", "a", "a-1"]
        assert await registry.names("a-1", 3) == ["a:1", "b"]
        assert await registry.names("b", 3) == []

    tell(story)


def test_a_replaced_certificate_is_superseded_until_it_is_revoked(tell: Tell) -> None:
    old, new = certificate("a", 1).sha256, certificate("a", 2).sha256

    async def story(registry: ThingRegistry) -> None:
        register = registry.register
        await registry.put([thing("a")])
        await registry.put([thing("a", number=2)])
        assert (await registry.get(["a"]))["a"].certificate == certificate("a", 2)
        states = {
            one.sha256: (one.state, one.since_us)
            for one in await register.certificates(CertificateQuery(thing="a"))
        }
        assert states == {old: ("superseded", 0), new: ("active", 0)}
        await register.note_superseded([old], 50)
        await register.note_superseded([old], 60)
        unseen = CertificateQuery(state="superseded", since_before_us=1)
        assert await register.certificates(unseen) == []
        await register.tell([old], "revoked", 70, "superseded")
        found = await register.certificate(old)
        assert found is not None
        assert (found.state, found.since_us, found.reason) == ("revoked", 70, "superseded")
        assert await register.blocked(["a"]) == set()

    tell(story)


def test_all_certificates_are_told_or_none(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        register = registry.register
        await registry.put([thing("a"), thing("b")])
        a, b = certificate("a").sha256, certificate("b").sha256
        with pytest.raises(KeyError):
            await register.tell([a, "0" * 64], "revoked", 1, "unspecified")
        await register.tell([b], "revoked", 1, "key_compromise")
        with pytest.raises(ImpossibleCertificateEvent):
            await register.tell([a, b], "lifetime_elapsed", 2)
        found = await register.certificate(a)
        assert found is not None
        assert found.state == "active"
        assert await register.blocked(["a", "b", "none"]) == {"b"}
        assert await register.certificate("0" * 64) is None
        # A revoked certificate that is put again stays revoked.
        await registry.put([thing("b")])
        assert await register.blocked(["b"]) == {"b"}

    tell(story)


def test_certificates_are_found_by_what_is_asked_in_the_order_of_their_digests(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        register = registry.register
        numbers = {"a": 1, "b": 2, "c": 3}
        await registry.put([thing(name, number=number) for name, number in numbers.items()])
        digests = sorted(certificate(name, number).sha256 for name, number in numbers.items())
        found = await register.certificates(CertificateQuery(limit=2))
        assert [one.sha256 for one in found] == digests[:2]
        found = await register.certificates(CertificateQuery(after=digests[1]))
        assert [one.sha256 for one in found] == digests[2:]
        found = await register.certificates(
            CertificateQuery(state="active", expires_before_us=3_000)
        )
        assert {one.thing for one in found} == {"a", "b"}

    tell(story)


def test_rotations_and_removals_are_kept_until_they_end(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        register = registry.register
        await registry.put([thing("a", groups=("g", "h")), thing("b", groups=("g",))])
        await register.add_rotations(["b", "a", "b"])
        assert await register.rotations(1) == ["a"]
        await register.end_rotations(["a", "none"])
        assert await register.rotations(9) == ["b"]
        assert await register.begin_removal("a", "anna") == Removal("a", "anna", 0)
        await register.end_removal_step("a", 2)
        assert await register.begin_removal("a", "ben") == Removal("a", "anna", 2)
        assert await register.removals() == [Removal("a", "anna", 2)]
        await register.tell([certificate("a").sha256], "revoked", 1, "cessation_of_operation")
        await register.end_removal("a")
        assert await register.removals() == []
        assert await registry.get(["a"]) == {}
        assert await registry.policy("device:a") is None
        assert await registry.groups() == {"g": 1}
        found = await register.certificate(certificate("a").sha256)
        assert found is not None
        assert found.state == "revoked"
        await register.end_removal("a")

    tell(story)


def test_many_things_are_put_at_once(tell: Tell) -> None:
    async def story(registry: ThingRegistry) -> None:
        things = [
            msgspec.structs.replace(thing(f"lamp-{number}", number=number), groups=["all"])
            for number in range(1, 71)
        ]
        await registry.put(things)
        assert await registry.count() == 70
        assert len(await registry.get([one.name for one in things])) == 70
        assert await registry.groups() == {"all": 70}

    tell(story)
