"""Alarms from their packs and signals to episodes, once, over redeliveries and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.signals import SignalsError, load_signals, read_signals
from city_platform.stores.alarm_register import AlarmQuery, steps_of
from city_platform.stores.alarm_states import AlarmEpisode, FlappingLimits
from harness.testing.clock import HandMovedClock
from lwm2m.objects import ValueType, builtin_versions
from tests.city_platform.ingestion.packs import (
    NOW_S,
    alarm,
    alarm_topic,
    ingesting,
    state,
    state_topic,
    stored,
)

FAILURE = "3416/0/5"


async def take(found: Ingestion, *packs: tuple[str, bytes]) -> None:
    for pack in packs:
        await found.intake.accept(*pack)
        await stored(found)


def raised(sequence: int, **changes: Any) -> tuple[str, bytes]:
    return alarm_topic(), alarm(sequence=sequence, **changes)


def cleared(sequence: int) -> tuple[str, bytes]:
    return alarm_topic(), alarm(sequence=sequence, raised=False)


def signalled(sequence: int, is_true: bool) -> tuple[str, bytes]:
    return state_topic(), state(sequence=sequence, values={FAILURE: is_true})


async def episodes(found: Ingestion, **asked: Any) -> list[AlarmEpisode]:
    return await found.desk.episodes(AlarmQuery(**asked))


def test_a_redelivered_alarm_is_not_repeated_and_a_new_one_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await take(found, raised(1), raised(1), raised(1))
            (one,) = await episodes(found)
            assert (one.state, one.raises) == ("raised", 1)
            await take(found, raised(2), raised(2))
            (one,) = await episodes(found)
            assert (one.state, one.raises, one.id) == ("raised", 2, 1)

    asyncio.run(story())


def test_an_alarm_lives_on_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await take(found, raised(1))
            acknowledged = await found.desk.acknowledge(1, "ann", 77, "on my way")
            assert acknowledged is not None
        async with ingesting(tmp_path) as found:
            assert found.live.state("lamp-1") is not None
            await take(found, raised(1), cleared(2))
            story = await found.desk.episode(1)
            assert story is not None
            assert (story.episode.state, story.episode.note) == ("closed", "on my way")
            assert [(step.state, step.who) for step in story.steps] == [
                ("raised", ""), ("acknowledged", "ann"), ("closed", ""),
            ]  # fmt: skip
            await take(found, raised(3))
            assert [one.state for one in await episodes(found)] == ["raised", "closed"]

    asyncio.run(story())


def test_a_mapped_signal_raises_and_clears_by_its_edges(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await take(found, signalled(1, False), signalled(2, True), signalled(3, True))
            (one,) = await episodes(found)
            assert (one.alarm, one.severity, one.source) == ("lamp_failure", "major", "signal")
            assert (one.raises, one.raised_us) == (1, int((NOW_S + 2) * 1e6))
        async with ingesting(tmp_path) as found:
            await take(found, signalled(4, True), signalled(5, False))
            (one,) = await episodes(found)
            assert (one.state, one.cleared_us) == ("cleared", int((NOW_S + 5) * 1e6))
            # What devices sent is apart: a signal is a reading.
            assert (await found.store.counts()).alarms == 0

    asyncio.run(story())


@pytest.mark.parametrize("is_alarm_first", [True, False])
def test_an_alarm_and_its_signal_are_one_whichever_comes_first(
    tmp_path: Path, is_alarm_first: bool
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            packs = [raised(1, severity="critical"), signalled(1, True)]
            await take(found, *(packs if is_alarm_first else reversed(packs)))
            (one,) = await episodes(found)
            assert (one.raises, one.source, one.severity) == (1, "device", "critical")

    asyncio.run(story())


def test_an_old_signal_of_a_backlog_does_not_raise_what_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await take(found, raised(5), cleared(6), signalled(4, True))
            (one,) = await episodes(found)
            assert (one.state, one.raises) == ("cleared", 1)

    asyncio.run(story())


def test_an_alarm_that_flaps_is_one_episode_and_settles_when_it_is_calm(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock) as found:
            for sequence in range(1, 21, 2):
                await take(found, raised(sequence), cleared(sequence + 1))
            (one,) = await episodes(found)
            assert (one.state, one.raises) == ("flapping", 10)
            state_now = found.live.state("lamp-1")
            assert state_now is not None
            assert state_now.alarm == "warning"
            await found.upkeep.settle()
            assert (await episodes(found))[0].state == "flapping"
            clock.advance(601)
            await found.upkeep.settle()
            (one,) = await episodes(found)
            assert one.state == "cleared"
            state_now = found.live.state("lamp-1")
            assert state_now is not None
            assert state_now.alarm == "none"

    asyncio.run(story())


def test_a_storm_of_one_alarm_is_one_flapping_episode_of_a_few_steps(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            sent = [
                alarm(sequence=number + 1, raised=not number % 2, time=NOW_S + number / 1e3)
                for number in range(1_000)
            ]
            await asyncio.gather(*(found.intake.accept(alarm_topic(), one) for one in sent))
            await stored(found)
            (one,) = await episodes(found)
            assert (one.state, one.raises) == ("flapping", 500)
            assert len(one.changes) == FlappingLimits().changes
            steps = await found.store.read(steps_of, one.id)
            assert [step.state for step in steps][-1] == "flapping"
            assert len(steps) <= FlappingLimits().changes
            state_now = found.live.state("lamp-1")
            assert state_now is not None
            assert state_now.alarm == "warning"
            # Each is counted: bounded is what is made of them.
            assert (await found.store.counts()).alarms == 1_000

    asyncio.run(story())


def test_alarms_are_found_by_what_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await take(
                found,
                raised(1, severity="minor", alarm="flicker"),
                raised(2, severity="critical"),
                (alarm_topic("lamp-2"), alarm("lamp-2", 3)),
            )
            wanted: list[tuple[dict[str, Any], list[int]]] = [
                ({}, [3, 2, 1]),
                ({"endpoint": "lamp-1"}, [2, 1]),
                ({"alarm": "flicker"}, [1]),
                ({"severities": ["minor", "major"]}, [3, 1]),
                ({"states": ["cleared"]}, []),
                ({"from_us": int((NOW_S + 2) * 1e6)}, [3, 2]),
                ({"to_us": int((NOW_S + 2) * 1e6)}, [1]),
                ({"before": 3, "limit": 1}, [2]),
                ({"tenants": ["harbour"]}, []),
                ({"tenants": []}, []),
                ({"tenants": [""]}, [3, 2, 1]),
            ]
            for asked, expected in wanted:
                assert [one.id for one in await episodes(found, **asked)] == expected, asked

    asyncio.run(story())


def test_every_signal_is_a_boolean_resource_of_its_object() -> None:
    resources = {
        (object_id, number): resource
        for (object_id, _), model in builtin_versions().items()
        for number, resource in model.resources.items()
    }
    for key, signal in load_signals(None).items():
        assert resources[key].type is ValueType.BOOLEAN, signal


@pytest.mark.parametrize(
    "text",
    [
        "[[signals]]\nobject = 1",
        "signals = 3",
        "\xff",
        "[[signals]]\nobject=1\nresource=2\nalarm='a'\nseverity='loud'",
        "[[signals]]\nobject=1\nresource=2\nalarm='a'\nseverity='minor'\n" * 2,
    ],
)
def test_a_signals_file_that_cannot_be_used_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(SignalsError, match=r"mine\.toml"):
        read_signals(text.encode("latin-1"), "mine.toml")
