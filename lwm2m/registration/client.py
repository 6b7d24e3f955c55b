"""A client's registration with one server: what to send when, and when to try again.

It knows states and times; requests are encoded elsewhere (`encode_register`) and sent by the
caller, who reports what became of the latest one.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from lwm2m.coap import codes
from lwm2m.errors import IllegalTransition
from lwm2m.registration.states import CLIENT_TRANSITIONS, ClientEvent, ClientState


class ClientAction(enum.StrEnum):
    """What the client has to send now."""

    SEND_REGISTER = "send_register"
    SEND_UPDATE = "send_update"
    SEND_DEREGISTER = "send_deregister"


# What entering a state makes the client send.
ACTIONS: Final[dict[ClientState, ClientAction]] = {
    ClientState.REGISTERING: ClientAction.SEND_REGISTER,
    ClientState.UPDATING: ClientAction.SEND_UPDATE,
    ClientState.DEREGISTERING: ClientAction.SEND_DEREGISTER,
}


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
        return delay_s * (1.0 + self.jitter_ratio * chance)


class ClientRegistration:
    """One client's registration with one server, as a state machine.

    Methods return what is to be sent now, or None. `now` is seconds of the caller's clock;
    `chance` a random number of [0, 1) for the jitter of a pause.
    """

    __slots__ = (
        "_due_at",
        "_failures",
        "_policy",
        "_state",
        "_update_wanted",
        "lifetime_s",
        "location",
    )

    def __init__(self, lifetime_s: int, policy: RetryPolicy) -> None:
        self._policy = policy
        self._state = ClientState.UNREGISTERED
        self._due_at: float | None = None
        self._failures = 0
        self._update_wanted = False
        self.lifetime_s = lifetime_s
        self.location: tuple[str, ...] = ()

    @property
    def state(self) -> ClientState:
        """Where the client stands."""
        return self._state

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        return self._due_at

    def register(self) -> ClientAction | None:
        """Register, or register anew."""
        self._failures = 0
        return self._request(ClientEvent.REGISTER_REQUESTED)

    def update(self) -> ClientAction | None:
        """Send an Update, after the one under way if there is one. Raises `IllegalTransition`."""
        if self._state is ClientState.UPDATING:
            self._update_wanted = True
            return None
        return self._request(ClientEvent.UPDATE_FELL_DUE)

    def deregister(self) -> ClientAction | None:
        """End the registration. Raises `IllegalTransition` when there is none to end."""
        return self._request(ClientEvent.DEREGISTER_REQUESTED)

    def response_received(
        self, code: int, location: tuple[str, ...], now: float, chance: float = 0.0
    ) -> ClientAction | None:
        """The server answered the latest request. Answers that came too late change nothing."""
        if codes.is_success(code):
            return self._accepted(location, now)
        event = ClientEvent.NOT_FOUND if code == codes.NOT_FOUND else ClientEvent.REFUSED
        return self._failed(event, now, chance)

    def exchange_failed(self, now: float, chance: float = 0.0) -> ClientAction | None:
        """The server did not answer the latest request."""
        return self._failed(ClientEvent.UNANSWERED, now, chance)

    def handle_timer(self, now: float) -> ClientAction | None:
        """An Update or the end of a pause is due."""
        if self._due_at is None or now < self._due_at:
            return None
        if self._state is ClientState.BACKING_OFF:
            return self._move(ClientEvent.BACK_OFF_ELAPSED)
        return self._move(ClientEvent.UPDATE_FELL_DUE)

    def _accepted(self, location: tuple[str, ...], now: float) -> ClientAction | None:
        was_registering = self._state is ClientState.REGISTERING
        if CLIENT_TRANSITIONS[self._state][ClientEvent.ACCEPTED] is None:
            return None
        action = self._move(ClientEvent.ACCEPTED)
        if self._state is not ClientState.REGISTERED:
            return action
        if was_registering:
            self.location = location
        self._failures = 0
        self._due_at = self._update_at(now)
        if self._update_wanted:
            return self._move(ClientEvent.UPDATE_FELL_DUE)
        return action

    def _failed(self, event: ClientEvent, now: float, chance: float) -> ClientAction | None:
        if CLIENT_TRANSITIONS[self._state][event] is None:
            return None
        action = self._move(event)
        if self._state is not ClientState.BACKING_OFF:
            return action
        self._failures += 1
        delay_s = self._policy.delay_s(self._failures, chance)
        if delay_s is None:
            return self._move(ClientEvent.RETRIES_EXHAUSTED)
        self._due_at = now + delay_s
        return None

    def _update_at(self, now: float) -> float | None:
        if self.lifetime_s == 0:
            return None
        return now + max(self.lifetime_s - self._policy.update_before_s, self.lifetime_s / 2)

    def _request(self, event: ClientEvent) -> ClientAction | None:
        if CLIENT_TRANSITIONS[self._state][event] is None:
            raise IllegalTransition(self._state, event)
        return self._move(event)

    def _move(self, event: ClientEvent) -> ClientAction | None:
        target = CLIENT_TRANSITIONS[self._state][event]
        if target is None:
            return None
        self._state = target
        self._due_at = None
        if target is not ClientState.REGISTERED:
            self._update_wanted = False
        return ACTIONS.get(target)
