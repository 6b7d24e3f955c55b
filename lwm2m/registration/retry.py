"""When a client tries again, and in which order it registers with several servers.

The rules are the Server object's resources (LwM2M Core §6.2.1.2 and appendix E.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

# /1/x/5 when it is not there (LwM2M Core appendix E.2).
DISABLE_S: Final = 86_400.0
# /1/x/13 to /1/x/20.
_RULES: Final = range(13, 21)
# /1/x/19: this value means that no further sequence is begun.
_NO_FURTHER_SEQUENCE: Final = 2**32 - 1


class RetryPolicy(msgspec.Struct, frozen=True):
    """How a client tries again; defaults of the Server object's resources (LwM2M Core §6.2.1.2)."""

    # Attempts in one sequence (/1/x/17).
    attempts_per_sequence: int = 5
    # Seconds after the first failure, doubled after each further one (/1/x/18).
    retry_s: float = 60.0
    # Seconds between two sequences (/1/x/19).
    sequence_delay_s: float = 86_400.0
    # Sequences before the client gives up (/1/x/20).
    sequences: int = 1
    # Each delay is lengthened by up to this share of it, so that a fleet does not come back at
    # once. Not in the standard: 0.
    jitter_ratio: float = 0.0
    # An Update is sent this many seconds before the lifetime ends (MAX_TRANSMIT_WAIT, RFC 7252
    # §4.8.2: as long as it may take to get through), but not before half of it.
    update_before_s: float = 93.0

    def delay_s(self, failures: int, chance: float) -> float | None:
        """The pause after the n-th failure in a row; None when the client gives up.

        `chance` is a random number of [0, 1).
        """
        sequence, attempt = divmod(failures - 1, self.attempts_per_sequence)
        if attempt < self.attempts_per_sequence - 1:
            delay_s = self.retry_s * 2.0**attempt
        elif sequence + 1 < self.sequences:
            delay_s = self.sequence_delay_s
        else:
            return None
        return self.lengthened(delay_s, chance)

    def lengthened(self, delay_s: float, chance: float) -> float:
        """A pause with its jitter; `chance` is a random number of [0, 1)."""
        return delay_s * (1.0 + self.jitter_ratio * chance)


class ServerRules(msgspec.Struct, frozen=True):
    """How one server is to be registered with; defaults are the Server object's."""

    short_server_id: int
    # Servers are registered with in rising order (/1/x/13); None: whenever the client likes.
    priority: int | None = None
    # Seconds between the registration before it and this one, after a bootstrap (/1/x/14).
    initial_delay_s: float = 0.0
    # Whether servers after it wait until it has accepted the client (/1/x/15).
    blocks_on_failure: bool = False
    # Whether its failure makes the client bootstrap again (/1/x/16).
    bootstraps_on_failure: bool = True
    # How its requests are tried again (/1/x/17 to 20).
    retries: RetryPolicy = RetryPolicy()


def read_rules(
    short_server_id: int, get: Callable[[int], object], defaults: RetryPolicy
) -> ServerRules:
    """The rules of a Server object instance; `get` gives a resource's value, None if absent.

    What the instance leaves out is as in `defaults`, in which a client may be quicker than the
    standard's 60 seconds.
    """
    values = [get(number) for number in _RULES]
    if not any(value is not None for value in values):
        return ServerRules(short_server_id, retries=defaults)
    priority, initial_delay_s, blocks, bootstraps, *counts = values
    attempts, retry_s, sequence_delay_s, sequences = [_natural(each) for each in counts]
    if sequence_delay_s is not None and sequence_delay_s >= _NO_FURTHER_SEQUENCE:
        sequences = 1
    given = {
        "attempts_per_sequence": None if attempts is None else max(1, attempts),
        "retry_s": None if retry_s is None else float(retry_s),
        "sequence_delay_s": None if sequence_delay_s is None else float(sequence_delay_s),
        "sequences": None if sequences is None else max(1, sequences),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return ServerRules(
        short_server_id,
        _natural(priority),
        float(_natural(initial_delay_s) or 0),
        blocks is True,
        bootstraps is not False,
        msgspec.structs.replace(defaults, **changes) if changes else defaults,
    )


class RegistrationOrder:
    """Which of several servers is to be registered with now.

    `now` is seconds of the caller's clock; servers are told apart by their short server ids.
    """

    __slots__ = ("_due", "_is_first", "_ordered", "_rules", "_waiting_for")

    def __init__(self, rules: Iterable[ServerRules], now: float, *, is_first: bool) -> None:
        """`is_first`: since a bootstrap; only then /1/x/14 delays a server."""
        self._rules = {each.short_server_id: each for each in rules}
        self._is_first = is_first
        ranked = [each for each in self._rules.values() if each.priority is not None]
        ranked.sort(key=lambda each: (each.priority, each.short_server_id))
        self._ordered = [each.short_server_id for each in ranked]
        self._due = {
            each.short_server_id: self._due_at(each, now)
            for each in self._rules.values()
            if each.priority is None
        }
        # The server whose outcome the next one in the order waits for.
        self._waiting_for: int | None = None
        self._go_on(now)

    @property
    def is_blocked(self) -> bool:
        """Whether servers wait for one that did not accept the client."""
        return self._waiting_for is not None and bool(self._ordered)

    def next_timer(self) -> float | None:
        """When `take_due` has something; None while outcomes are awaited."""
        return min(self._due.values(), default=None)

    def take_due(self, now: float) -> list[int]:
        """The servers to register with now."""
        due = [number for number, due_at in self._due.items() if due_at <= now]
        for number in due:
            del self._due[number]
        return due

    def registered(self, short_server_id: int, now: float) -> None:
        """This server accepted the client: the next one is due."""
        if short_server_id == self._waiting_for:
            self._go_on(now)

    def failed(self, short_server_id: int, now: float) -> bool:
        """Every attempt at this server failed; whether the client has to bootstrap again."""
        rules = self._rules[short_server_id]
        if short_server_id == self._waiting_for and not rules.blocks_on_failure:
            self._go_on(now)
        return rules.bootstraps_on_failure

    def _go_on(self, now: float) -> None:
        self._waiting_for = self._ordered.pop(0) if self._ordered else None
        if self._waiting_for is not None:
            self._due[self._waiting_for] = self._due_at(self._rules[self._waiting_for], now)

    def _due_at(self, rules: ServerRules, now: float) -> float:
        return now + rules.initial_delay_s if self._is_first else now


def _natural(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
