"""The rule runner: nothing is acknowledged before its target has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from city_platform.rules import (
    CallbackTarget,
    Condition,
    DeadLetter,
    Rule,
    RuleError,
    RuleRunner,
    RunnerLimits,
)
from mqtt.connection import InboundMessage
from tests.processes import WITHIN_S

FAST = RunnerLimits(retry_s=0.001, retry_s_max=0.002, tries_max=3)


class Client:
    """Keeps what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def acknowledge(self, message: InboundMessage) -> None:
        self.acknowledged.append(message.packet_id)


class Futures:
    """A target that accepts when it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.pending: list[asyncio.Future[None]] = []

    def accept(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        self.taken.append((topic, payload))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        return future


def message(
    number: int, topic: str = "a/b", payload: bytes = b"{}", qos: int = 1
) -> InboundMessage:
    return InboundMessage(topic, payload, qos, number, False, False, 1)


def rule(name: str = "r", topic: str = "a/+", **changes: Any) -> Rule:
    return Rule(**{"name": name, "topic": topic, "target": "t", **changes})


def make(
    accept: Callable[[str, bytes], Awaitable[None] | None],
    *rules: Rule,
    limits: RunnerLimits = FAST,
    dead: Callable[[DeadLetter], Awaitable[None] | None] | None = None,
) -> tuple[RuleRunner, Client]:
    client = Client()
    runner = RuleRunner(
        client,
        rules or [rule()],
        {"t": CallbackTarget(accept)},
        limits=limits,
        dead_letters=dead,
    )
    return runner, client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  # any condition, without an event for each
            await asyncio.sleep(0)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_message_is_acknowledged_after_its_target_accepted() -> None:
    async def story() -> None:
        target = Futures()
        runner, client = make(target.accept)
        runner.handle_message(message(1))
        await turns()
        assert client.acknowledged == []
        target.pending[0].set_result(None)
        await until(lambda: client.acknowledged == [1])

    asyncio.run(story())


def test_a_target_that_has_it_at_once_needs_no_future() -> None:
    runner, client = make(lambda topic, payload: None)
    runner.handle_message(message(1))
    assert client.acknowledged == [1]


def test_pubacks_leave_in_the_order_the_messages_came() -> None:
    async def story() -> None:
        target = Futures()
        runner, client = make(target.accept)
        for number in (1, 2, 3):
            runner.handle_message(message(number))
        target.pending[2].set_result(None)
        target.pending[1].set_result(None)
        await turns()
        assert client.acknowledged == []
        target.pending[0].set_result(None)
        await until(lambda: client.acknowledged == [1, 2, 3])

    asyncio.run(story())


def test_a_refusing_target_is_tried_again_and_then_acknowledged() -> None:
    async def story() -> None:
        tries: list[bytes] = []

        async def accept(topic: str, payload: bytes) -> None:
            tries.append(payload)
            if len(tries) < 3:
                raise OSError("disk full")

        runner, client = make(accept)
        runner.handle_message(message(1))
        await until(lambda: client.acknowledged == [1])
        assert len(tries) == 3
        assert runner.counts["retried"] == 2

    asyncio.run(story())


def test_a_poison_message_goes_to_the_dead_letters_and_then_is_acknowledged() -> None:
    async def story() -> None:
        letters: list[DeadLetter] = []

        def accept(topic: str, payload: bytes) -> None:
            raise ValueError(payload)

        runner, client = make(accept, dead=letters.append)
        runner.handle_message(message(1, payload=b"poison"))
        await until(lambda: client.acknowledged == [1])
        assert letters == [DeadLetter("r", "a/b", b"poison", "ValueError")]
        assert "poison" not in repr(letters[0])
        assert runner.counts["dead_letters"] == 1

    asyncio.run(story())


def test_a_letter_that_nobody_keeps_is_not_acknowledged_until_somebody_does() -> None:
    async def story() -> None:
        asked: list[DeadLetter] = []

        async def keep(letter: DeadLetter) -> None:
            asked.append(letter)
            if len(asked) < 3:
                raise OSError("disk full")

        def accept(topic: str, payload: bytes) -> None:
            raise ValueError

        runner, client = make(accept, dead=keep)
        runner.handle_message(message(1))
        await until(lambda: client.acknowledged == [1])
        assert len(asked) == 3
        assert runner.counts["dead_letters_not_kept"] == 2

    asyncio.run(story())


def test_no_more_messages_than_allowed_are_at_the_target_at_once() -> None:
    async def story() -> None:
        target = Futures()
        runner, client = make(target.accept, limits=RunnerLimits(concurrency_max=2))
        for number in range(1, 6):
            runner.handle_message(message(number, payload=b"%d" % number))
        assert [payload for _, payload in target.taken] == [b"1", b"2"]
        for position in range(5):
            await until(lambda position=position: len(target.pending) > position)  # type: ignore[misc]  # bound now
            target.pending[position].set_result(None)
        await until(lambda: client.acknowledged == [1, 2, 3, 4, 5])

    asyncio.run(story())


def test_what_overflows_is_counted_and_left_for_redelivery() -> None:
    async def story() -> None:
        target = Futures()
        runner, client = make(target.accept, limits=RunnerLimits(waiting_max=1))
        runner.handle_message(message(1))
        runner.handle_message(message(2))
        target.pending[0].set_result(None)
        await until(lambda: client.acknowledged == [1])
        assert runner.counts["overflowed"] == 1

    asyncio.run(story())


def test_conditions_choose_and_what_no_rule_wants_is_acknowledged() -> None:
    taken: list[bytes] = []
    wanted = rule(where=[Condition(field="kind", equals="x")])
    runner, client = make(lambda topic, payload: taken.append(payload), wanted)
    runner.handle_message(message(1, payload=b'{"kind":"x"}'))
    runner.handle_message(message(2, payload=b'{"kind":"y"}'))
    runner.handle_message(message(3, payload=b"\xff"))
    runner.handle_message(message(4, topic="other"))
    assert taken == [b'{"kind":"x"}']
    assert client.acknowledged == [1, 2, 3, 4]
    assert runner.counts["not_json"] == 1
    assert runner.counts["unmatched"] == 3


def test_a_payload_is_not_decoded_for_rules_without_conditions() -> None:
    taken: list[bytes] = []
    runner, _ = make(lambda topic, payload: taken.append(payload))
    runner.handle_message(message(1, payload=b"\xff not JSON"))
    assert taken == [b"\xff not JSON"]
    assert runner.counts["not_json"] == 0


def test_a_message_of_two_rules_is_acknowledged_after_both() -> None:
    async def story() -> None:
        target = Futures()
        runner, client = make(target.accept, rule("one"), rule("two", "a/#"))
        runner.handle_message(message(1))
        target.pending[0].set_result(None)
        await turns()
        assert client.acknowledged == []
        target.pending[1].set_result(None)
        await until(lambda: client.acknowledged == [1])

    asyncio.run(story())


def test_filters_covered_by_others_are_not_subscribed() -> None:
    runner, _ = make(lambda topic, payload: None, rule("one"), rule("two", "a/#"), rule("three"))
    assert runner.subscriptions == ["a/#"]


def test_qos_0_needs_no_acknowledgement() -> None:
    runner, client = make(lambda topic, payload: None)
    runner.handle_message(message(0, qos=0))
    assert client.acknowledged == []


def test_a_rule_without_its_target_is_refused() -> None:
    with pytest.raises(RuleError, match="no target 'elsewhere'"):
        make(lambda topic, payload: None, rule(target="elsewhere"))


def test_closing_leaves_what_is_tried_again_unacknowledged() -> None:
    async def story() -> None:
        def accept(topic: str, payload: bytes) -> None:
            raise OSError

        runner, client = make(accept, limits=RunnerLimits(retry_s=60, retry_s_max=60))
        runner.handle_message(message(1))
        await runner.close()
        assert client.acknowledged == []

    asyncio.run(story())
