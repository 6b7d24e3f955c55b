"""Every cell of the table of a certificate's life, and the register that keeps it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest

from city_platform.stores.certificate_register import CertificateQuery, Removal
from city_platform.stores.certificate_states import (
    TRANSITIONS,
    CertificateEvent,
    ImpossibleCertificateEvent,
    next_state,
)
from city_platform.stores.thing_registry import SqliteThingRegistry
from contracts.api import CertificateState
from tests.city_platform.stores.test_registries import thing

STATES: tuple[CertificateState, ...] = get_args(CertificateState)
EVENTS: tuple[CertificateEvent, ...] = get_args(CertificateEvent)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_cell_leads_somewhere_or_is_refused(
    state: CertificateState, event: CertificateEvent
) -> None:
    behind = TRANSITIONS[state].get(event)
    if behind is None:
        with pytest.raises(ImpossibleCertificateEvent, match=state):
            next_state(state, event)
    else:
        assert next_state(state, event) == behind


def test_the_table_has_every_state() -> None:
    assert set(TRANSITIONS) == set(STATES)


def test_what_became_of_certificates_is_kept_and_found(tmp_path: Path) -> None:
    async def story() -> None:
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        register = registry.register
        await registry.put([thing("a"), thing("b")])
        await registry.put([thing("a", certificate="c2")])
        found = await register.certificates(CertificateQuery())
        assert {one.sha256: one.state for one in found} == {
            "a-c1": "superseded",
            "a-c2": "active",
            "b-c1": "active",
        }
        await register.note_superseded(["a-c1"], 5)
        await register.tell(["a-c2", "b-c1"], "revoked", 9, "key_compromise")
        await register.note_superseded(["a-c2"], 11)
        revoked = await register.certificates(CertificateQuery(state="revoked"))
        assert [(one.sha256, one.since_us, one.reason) for one in revoked] == [
            ("a-c2", 9, "key_compromise"),
            ("b-c1", 9, "key_compromise"),
        ]
        assert await register.blocked(["a", "b", "c"]) == {"a", "b"}
        await registry.put([thing("a", certificate="c3")])
        assert await register.blocked(["a", "b"]) == {"b"}
        page = await register.certificates(CertificateQuery(limit=2))
        rest = await register.certificates(CertificateQuery(after=page[-1].sha256, thing="b"))
        assert [one.sha256 for one in page + rest] == ["a-c1", "a-c2", "b-c1"]
        registry.close()

    asyncio.run(story())


def test_what_is_impossible_for_one_is_told_of_none(tmp_path: Path) -> None:
    async def story() -> None:
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        register = registry.register
        await registry.put([thing("a"), thing("b")])
        await register.tell(["b-c1"], "revoked", 1, "unspecified")
        with pytest.raises(ImpossibleCertificateEvent):
            await register.tell(["a-c1", "b-c1"], "lifetime_elapsed", 2)
        with pytest.raises(KeyError):
            await register.tell(["a-c1", "nobody's"], "lifetime_elapsed", 2)
        found = await register.certificate("a-c1")
        assert found is not None
        assert found.state == "active"
        assert await register.certificate("nobody's") is None
        registry.close()

    asyncio.run(story())


def test_removals_and_rotations_survive_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        await registry.put([thing("a"), thing("b")])
        await registry.register.add_rotations(["a", "b", "a"])
        await registry.register.begin_removal("a", "ada")
        await registry.register.end_removal_step("a", 2)
        registry.close()
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        register = registry.register
        assert await register.begin_removal("a", "bob") == Removal("a", "ada", 2)
        assert await register.rotations(1) == ["a"]
        await register.end_removal("a")
        assert await register.removals() == []
        assert await register.rotations(9) == ["b"]
        assert await registry.names("", 9) == ["b"]
        assert await registry.policy("device:a") is None
        assert await registry.groups() == {"harbour": 1}
        registry.close()

    asyncio.run(story())
