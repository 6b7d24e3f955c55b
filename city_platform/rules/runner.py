"""Runs rules on MQTT: hands messages to targets and acknowledges what they accepted durably."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

import msgspec

from city_platform.rules.rule import CompiledRule, Rule, RuleError, compile_rules, decode_payload
from contracts.errors import ContractError
from contracts.topics import Topics, filter_covers
from mqtt.connection import InboundMessage

_log = logging.getLogger(__name__)

# Topics whose rules are remembered: a device reports on two. The cache is for speed only.
_TOPICS_MAX = 20_000


class Target(Protocol):
    """Where a rule's messages go."""

    def accept(self, topic: str, payload: bytes) -> Awaitable[None] | None:
        """Take a message. None, or the awaitable's end, says that it is durable.

        A future is cheaper than a coroutine, which costs a task, and one that many messages share,
        because they become durable together, is cheaper still. What it raises is tried again.
        """


class CallbackTarget:
    """A target that is one function, or coroutine function."""

    def __init__(self, accept: Callable[[str, bytes], Awaitable[None] | None]) -> None:
        self.accept = accept


class Acknowledges(Protocol):
    """The part of an MQTT client that a rule runner needs."""

    def acknowledge(self, message: InboundMessage) -> None:
        """Send the message's PUBACK."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a target refused for good. Its payload may be secret: it is not shown."""

    rule: str
    topic: str
    payload: bytes
    reason: str

    def __repr__(self) -> str:
        return f"DeadLetter({self.rule!r}, {self.topic!r}, {len(self.payload)} bytes)"


DeadLetters = Callable[[DeadLetter], Awaitable[None] | None]


class RunnerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a rule runner."""

    # Messages at the targets at one time; further ones wait in order.
    concurrency_max: int = 1_000
    # Messages that wait; a broker that keeps to its in-flight window never fills this. More are
    # left unacknowledged, so that the broker delivers them again on the next connection.
    waiting_max: int = 50_000
    # Tries at a target before a message is given to the dead letters.
    tries_max: int = 8
    # First and longest pause before the next try, in seconds.
    retry_s: float = 0.1
    retry_s_max: float = 10.0


class RuleRunner:
    """Dispatches messages by rules. Give `subscriptions` and `handle_message` to the client.

    PUBACKs leave in the order the messages came (MQTT 3.1.1 §4.6), so a message that is tried
    again holds back the ones behind it, for as long as the tries last. Counters: `received`,
    `matched.<rule>`, `unmatched`, `not_json`, `retried`, `dead_letters`, `acknowledged`,
    `overflowed`.
    """

    def __init__(
        self,
        client: Acknowledges | None,
        rules: Sequence[Rule],
        targets: Mapping[str, Target],
        *,
        topics: Topics | None = None,
        limits: RunnerLimits | None = None,
        dead_letters: DeadLetters | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._rules = compile_rules(list(rules), topics or Topics())
        # Rules by the last level of their topics, where that is a name: most of those that cannot
        # cover a topic need not be asked. Those whose last level is a wildcard are in each.
        self._open_ended = [rule for rule in self._rules if rule.last_level is None]
        self._by_last_level = {
            level: [rule for rule in self._rules if rule.last_level in (level, None)]
            for level in dict.fromkeys(rule.last_level for rule in self._rules)
            if level is not None
        }
        self._covering: dict[str, list[CompiledRule]] = {}
        self._targets = targets
        self._client = client
        self._limits = limits or RunnerLimits()
        self._dead_letters = dead_letters or _log_dead_letter
        self._chance = chance
        self._in_order: deque[_Delivery] = deque()
        self._waiting: deque[_Delivery] = deque()
        self._at_targets = 0
        self._watched: dict[asyncio.Future[None], list[_Attempt]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        for rule in self._rules:
            if rule.target not in targets:
                raise RuleError(f"rule {rule.name!r}: there is no target {rule.target!r}")

    @property
    def subscriptions(self) -> list[str]:
        """The topic filters to subscribe to: those of the rules that no other one covers."""
        filters = list(dict.fromkeys(rule.filter for rule in self._rules))
        return [
            one
            for one in filters
            if not any(other != one and filter_covers(other, one) for other in filters)
        ]

    def use_client(self, client: Acknowledges) -> None:
        """The client to acknowledge with, when it was made after the runner."""
        self._client = client

    def handle_message(self, message: InboundMessage) -> None:
        """Take one message from the client."""
        counts = self.counts
        counts["received"] += 1
        if len(self._in_order) >= self._limits.waiting_max:
            counts["overflowed"] += 1
            return
        rules = self._matching(message)
        delivery = _Delivery(message, rules)
        self._in_order.append(delivery)
        if not rules:
            counts["unmatched"] += 1
            self._acknowledge_in_order()
        elif self._at_targets < self._limits.concurrency_max:
            self._start(delivery)
        else:
            self._waiting.append(delivery)

    async def close(self) -> None:
        """Drop what waits; it stays unacknowledged and comes again. Targets at work are awaited."""
        self._waiting.clear()
        for timer in list(self._timers):
            timer.cancel()
        self._timers.clear()
        if self._watched:
            await asyncio.gather(*self._watched, return_exceptions=True)

    def _matching(self, message: InboundMessage) -> list[CompiledRule]:
        covering = self._covering.get(message.topic)
        if covering is None:
            covering = self._rules_of(message.topic)
        for rule in covering:
            if rule.reads_payload:
                covering = self._meeting(covering, message.payload)
                break
        for rule in covering:
            self.counts[rule.counter] += 1
        return covering

    def _rules_of(self, topic: str) -> list[CompiledRule]:
        asked = self._by_last_level.get(topic.rpartition("/")[2], self._open_ended)
        covering = [rule for rule in asked if rule.covers(topic)]
        if len(self._covering) >= _TOPICS_MAX:
            self._covering.clear()
        self._covering[topic] = covering
        return covering

    def _meeting(self, covering: list[CompiledRule], payload: bytes) -> list[CompiledRule]:
        try:
            document = decode_payload(payload)
        except ContractError:
            self.counts["not_json"] += 1
            return [rule for rule in covering if not rule.reads_payload]
        return [rule for rule in covering if rule.accepts(document)]

    def _start(self, delivery: _Delivery) -> None:
        self._at_targets += 1
        for rule in delivery.rules:
            self._try(delivery, rule, 1)

    def _try(self, delivery: _Delivery, rule: CompiledRule, number: int) -> None:
        message = delivery.message
        try:
            accepted = self._targets[rule.target].accept(message.topic, message.payload)
        except Exception as error:  # the boundary to a target: reported below
            self._failed(delivery, rule, number, error)
            return
        if accepted is None:
            self._accepted(delivery)
        else:
            self._watch(accepted, (delivery, rule, number, False))

    def _watch(self, awaitable: Awaitable[None], attempt: _Attempt) -> None:
        # Not always a future: but then it is none that is watched already.
        watched = self._watched.get(cast("asyncio.Future[None]", awaitable))
        if watched is not None:
            watched.append(attempt)
            return
        future = asyncio.ensure_future(awaitable)
        self._watched[future] = [attempt]
        future.add_done_callback(self._ended)

    def _ended(self, future: asyncio.Future[None]) -> None:
        attempts = self._watched.pop(future)
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._all_accepted(attempts)
            return
        for delivery, rule, number, is_burial in attempts:
            if is_burial:
                self._not_kept(delivery, rule, error)
            else:
                self._failed(delivery, rule, number, error)

    def _all_accepted(self, attempts: Sequence[_Attempt]) -> None:
        """What became durable together is acknowledged together."""
        for delivery, _, _, is_burial in attempts:
            if is_burial:
                self.counts["dead_letters"] += 1
            delivery.open -= 1
            if not delivery.open:
                self._at_targets -= 1
        self._acknowledge_in_order()
        self._start_waiting()

    def _accepted(self, delivery: _Delivery) -> None:
        delivery.open -= 1
        if not delivery.open:
            self._at_targets -= 1
            self._acknowledge_in_order()
            self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._at_targets < self._limits.concurrency_max:
            self._start(self._waiting.popleft())

    def _failed(
        self, delivery: _Delivery, rule: CompiledRule, number: int, error: BaseException
    ) -> None:
        if number >= self._limits.tries_max:
            self._bury(delivery, rule, error)
            return
        self.counts["retried"] += 1
        self._later(number, lambda: self._try(delivery, rule, number + 1))

    def _bury(self, delivery: _Delivery, rule: CompiledRule, error: BaseException) -> None:
        message = delivery.message
        letter = DeadLetter(rule.name, message.topic, message.payload, type(error).__name__)
        try:
            kept = self._dead_letters(letter)
        except Exception as problem:  # the boundary to whoever keeps them: tried again
            self._not_kept(delivery, rule, problem)
            return
        if kept is None:
            self._buried(delivery)
        else:
            self._watch(kept, (delivery, rule, self._limits.tries_max, True))

    def _buried(self, delivery: _Delivery) -> None:
        self.counts["dead_letters"] += 1
        self._accepted(delivery)

    def _not_kept(self, delivery: _Delivery, rule: CompiledRule, problem: BaseException) -> None:
        # Never acknowledged before somebody has it.
        self.counts["dead_letters_not_kept"] += 1
        self._later(self._limits.tries_max, lambda: self._bury(delivery, rule, problem))

    def _later(self, number: int, action: Callable[[], None]) -> None:
        limits = self._limits
        longest = min(limits.retry_s_max, limits.retry_s * 2.0 ** min(number - 1, 30))

        def fire() -> None:
            self._timers.discard(timer)
            action()

        delay_s = longest * (0.5 + 0.5 * self._chance())
        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(timer)

    def _acknowledge_in_order(self) -> None:
        in_order, client = self._in_order, self._client
        acknowledged = 0
        while in_order and not in_order[0].open:
            message = in_order.popleft().message
            acknowledged += 1
            if client is not None and message.qos:
                client.acknowledge(message)
        if acknowledged:
            self.counts["acknowledged"] += acknowledged


class _Delivery:
    """One message, its rules, and how many of them have not accepted it yet."""

    __slots__ = ("message", "open", "rules")

    def __init__(self, message: InboundMessage, rules: list[CompiledRule]) -> None:
        self.message = message
        self.rules = rules
        self.open = len(rules)


# One message at one target, or at the dead letters: a plain tuple, of which each message needs one.
_Attempt: TypeAlias = tuple[_Delivery, CompiledRule, int, bool]


def _log_dead_letter(letter: DeadLetter) -> None:
    _log.error("given up after %s: %r", letter.reason, letter)
