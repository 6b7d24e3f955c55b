"""A client's bootstrap: what it asks for when, how long it waits, and what it does when it failed.

It knows states and times. What the server writes is carried out by the caller, who also decides
whether the configuration is consistent (`client_configuration`).
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from lwm2m.bootstrap.server_requests import PACK_PATH, REQUEST_PATH
from lwm2m.bootstrap.states import BOOTSTRAP_TRANSITIONS, BootstrapEvent, BootstrapState
from lwm2m.coap import codes
from lwm2m.coap.requests import Request
from lwm2m.registration import AlertReaction, RetryPolicy, reaction_to

# RFC 7252 §4.8.2 EXCHANGE_LIFETIME with the default parameters.
FINISH_WITHIN_S: Final = 247.0


class BootstrapAction(enum.StrEnum):
    """What the client has to do now.

    `REMEMBER`: a server begins to write, keep the configuration as it is. `ROLL_BACK`: it did not
    finish, restore what was kept. `REGISTER`: the new configuration holds. `PURGE_ACCOUNT`: the
    bootstrap account's time is over.
    """

    SEND_REQUEST = "send_request"
    SEND_PACK_REQUEST = "send_pack_request"
    REMEMBER = "remember"
    ROLL_BACK = "roll_back"
    REGISTER = "register"
    PURGE_ACCOUNT = "purge_account"


# What entering a state from another one makes the client do.
BOOTSTRAP_ACTIONS: Final[dict[BootstrapState, BootstrapAction]] = {
    BootstrapState.REQUESTING: BootstrapAction.SEND_REQUEST,
    BootstrapState.PACK_REQUESTING: BootstrapAction.SEND_PACK_REQUEST,
    BootstrapState.RECEIVING: BootstrapAction.REMEMBER,
    BootstrapState.BACKING_OFF: BootstrapAction.ROLL_BACK,
    BootstrapState.DONE: BootstrapAction.REGISTER,
    BootstrapState.FAILED: BootstrapAction.ROLL_BACK,
}

_ALERT_EVENTS: Final[dict[AlertReaction, BootstrapEvent | None]] = {
    AlertReaction.RETRY: BootstrapEvent.UNANSWERED,
    AlertReaction.GIVE_UP: BootstrapEvent.SECURITY_REFUSED,
    AlertReaction.IGNORE: None,
}


class BootstrapPolicy(msgspec.Struct, frozen=True):
    """How a client bootstraps; the resources are those of its bootstrap account."""

    # Seconds before a request of the client's own accord (/0/x/11).
    hold_off_s: float = 0.0
    # Seconds after a bootstrap for which the account is kept (/0/x/12); 0: for ever.
    account_timeout_s: float = 0.0
    # Seconds without Finish after the server's latest operation. The standard counts them once;
    # counted anew, a long but living session over a slow link is not cut off.
    finish_within_s: float = FINISH_WITHIN_S
    # Whether `GET /bspack` is tried before `POST /bs` (LwM2M 1.2).
    prefers_pack: bool = False
    # How failed attempts are repeated; the standard says it for registrations only.
    retries: RetryPolicy = RetryPolicy()


class BootstrapClient:
    """One client's bootstrap with its bootstrap server, as a state machine.

    Methods return what is to be done now, or None. `now` is seconds of the caller's clock, `chance`
    a random number of [0, 1) for the jitter of a pause.
    """

    __slots__ = ("_due_at", "_failures", "_policy", "_purge_at", "_state")

    def __init__(self, policy: BootstrapPolicy) -> None:
        self._policy = policy
        self._state = BootstrapState.IDLE
        self._due_at: float | None = None
        self._purge_at: float | None = None
        self._failures = 0

    @property
    def state(self) -> BootstrapState:
        """Where the client stands."""
        return self._state

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        if self._due_at is None or self._purge_at is None:
            return self._purge_at if self._due_at is None else self._due_at
        return min(self._due_at, self._purge_at)

    def request(self, now: float, *, holds_off: bool = True) -> BootstrapAction | None:
        """Bootstrap, whatever was before. A server's trigger (/1/x/9) does not hold off."""
        self._failures = 0
        self._move(BootstrapEvent.BOOTSTRAP_REQUESTED)
        if holds_off and self._policy.hold_off_s > 0:
            self._due_at = now + self._policy.hold_off_s
            return None
        return self._ask(BootstrapEvent.HOLD_OFF_ELAPSED)

    def response_received(
        self, code: int, now: float, chance: float = 0.0
    ) -> BootstrapAction | None:
        """The server answered the latest Bootstrap-Request."""
        if not codes.is_success(code):
            return self._failed(BootstrapEvent.REFUSED, now, chance)
        action = self._move(BootstrapEvent.ACCEPTED)
        self._await_finish(now)
        return action

    def exchange_failed(self, now: float, chance: float = 0.0) -> BootstrapAction | None:
        """The server did not answer the latest request."""
        return self._failed(BootstrapEvent.UNANSWERED, now, chance)

    def alert_received(self, alert: int, now: float, chance: float = 0.0) -> BootstrapAction | None:
        """DTLS or TLS ended what the latest request waited for, with this alert."""
        event = _ALERT_EVENTS[reaction_to(alert)]
        return None if event is None else self._failed(event, now, chance)

    def pack_received(self, now: float, *, is_taken: bool) -> BootstrapAction | None:
        """The server answered the pack request: the caller took the pack over, or could not."""
        if not is_taken:
            return self._move(BootstrapEvent.PACK_REFUSED)
        return self._finished(BootstrapEvent.PACK_TAKEN, now)

    def server_acted(self, now: float) -> BootstrapAction | None:
        """A request of the bootstrap server arrived, other than Finish; to be called before it is
        carried out."""
        action = self._move(BootstrapEvent.SERVER_ACTED)
        self._await_finish(now)
        return action

    def finish(self, now: float, *, is_consistent: bool) -> BootstrapAction | None:
        """The server finished; an inconsistent configuration is answered 4.06."""
        if not is_consistent:
            self._move(BootstrapEvent.FINISH_REFUSED)
            self._await_finish(now)
            return None
        return self._finished(BootstrapEvent.FINISH_ACCEPTED, now)

    def handle_timer(self, now: float, chance: float = 0.0) -> BootstrapAction | None:
        """A wait is over."""
        if self._purge_at is not None and self._purge_at <= now:
            self._purge_at = None
            return BootstrapAction.PURGE_ACCOUNT
        if self._due_at is None or now < self._due_at:
            return None
        if self._state is BootstrapState.RECEIVING:
            return self._failed(BootstrapEvent.FINISH_OVERDUE, now, chance)
        if self._state is BootstrapState.HOLDING_OFF:
            return self._ask(BootstrapEvent.HOLD_OFF_ELAPSED)
        return self._ask(BootstrapEvent.BACK_OFF_ELAPSED)

    def _ask(self, event: BootstrapEvent) -> BootstrapAction | None:
        return self._move(BootstrapEvent.PACK_PREFERRED if self._policy.prefers_pack else event)

    def _finished(self, event: BootstrapEvent, now: float) -> BootstrapAction | None:
        action = self._move(event)
        if action is not None:
            self._failures = 0
            timeout_s = self._policy.account_timeout_s
            self._purge_at = now + timeout_s if timeout_s > 0 else None
        return action

    def _failed(self, event: BootstrapEvent, now: float, chance: float) -> BootstrapAction | None:
        action = self._move(event)
        if action is None or self._state is not BootstrapState.BACKING_OFF:
            return action
        self._failures += 1
        delay_s = self._policy.retries.delay_s(self._failures, chance)
        if delay_s is None:
            return self._move(BootstrapEvent.RETRIES_EXHAUSTED)
        self._due_at = now + delay_s
        return action

    def _await_finish(self, now: float) -> None:
        if self._state is BootstrapState.RECEIVING:
            self._due_at = now + self._policy.finish_within_s

    def _move(self, event: BootstrapEvent) -> BootstrapAction | None:
        source, target = self._state, BOOTSTRAP_TRANSITIONS[self._state][event]
        if target is None:
            return None
        self._state = target
        self._due_at = None
        return None if target is source else BOOTSTRAP_ACTIONS.get(target)


def bootstrap_request(endpoint_name: str, preferred_format: int | None = None) -> Request:
    """A Bootstrap-Request; `preferred_format` becomes `pct` (LwM2M 1.1)."""
    query: tuple[str, ...] = (f"ep={endpoint_name}",)
    if preferred_format is not None:
        query = (*query, f"pct={preferred_format}")
    return Request(codes.POST, REQUEST_PATH, query)


def pack_request(endpoint_name: str, content_format: int) -> Request:
    """A Bootstrap-Pack-Request (LwM2M 1.2) for a pack in SenML JSON, SenML CBOR or LwM2M CBOR."""
    return Request(codes.GET, PACK_PATH, (f"ep={endpoint_name}",), accept=content_format)
