"""How often an account may be asked, and when to try again: without clock, chance or waiting.

AWS refuses what goes beyond an account's limits. A bucket keeps a call from being made too early;
what is refused all the same is tried again after a pause that grows and that chance spreads.
"""

from __future__ import annotations

from typing import Final

# AWS's own words for "too often", over all of its services.
THROTTLED_CODES: Final = frozenset(
    {
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


class TokenBucket:
    """Lets `per_s` things a second happen, and `burst` at once after a rest.

    Times are seconds of any one clock; they never go back.
    """

    def __init__(self, per_s: float, burst: float | None = None) -> None:
        self._per_s = per_s
        self._burst = max(1.0, per_s if burst is None else burst)
        self._tokens = self._burst
        self._at_s: float | None = None

    def take(self, now_s: float, count: int = 1) -> float:
        """Take `count` tokens; returns the seconds to wait before what they are for may happen.

        Tokens are lent: who comes later waits behind who came before.
        """
        self._refill(now_s)
        self._tokens -= count
        return max(0.0, -self._tokens / self._per_s)

    def drain(self, now_s: float) -> None:
        """The account said no: others use it too. What was saved for a burst is gone."""
        self._refill(now_s)
        self._tokens = min(self._tokens, 0.0)

    def _refill(self, now_s: float) -> None:
        if self._at_s is not None:
            elapsed_s = max(0.0, now_s - self._at_s)
            self._tokens = min(self._burst, self._tokens + elapsed_s * self._per_s)
        self._at_s = now_s


def pause_s(tries: int, chance: float, first_s: float, longest_s: float) -> float:
    """The pause after the `tries`-th refused try, `chance` being from [0, 1).

    It doubles, and lies anywhere between nothing and that: those that were refused together do not
    come again together.
    """
    return chance * min(longest_s, first_s * 2.0 ** (tries - 1))


def should_retry(code: str, status: int) -> bool:
    """Whether the same call may succeed later: it came too often, or the service failed."""
    return code in THROTTLED_CODES or status in (429, 500, 502, 503, 504)
