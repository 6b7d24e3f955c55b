"""A client's registration with one server: what to send when, and when to try again.

It knows states and times; requests are encoded elsewhere (`encode_register`) and sent by the
caller, who reports what became of the latest one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from lwm2m.coap import codes
from lwm2m.errors import IllegalTransition
from lwm2m.registration.alerts import ALERT_EVENTS, reaction_to
from lwm2m.registration.retry import RetryPolicy
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
    ClientState.DISABLING: ClientAction.SEND_DEREGISTER,
}

# What the end of a wait is in each state that has one.
_WAITS: Final[dict[ClientState, ClientEvent]] = {
    ClientState.REGISTERED: ClientEvent.UPDATE_FELL_DUE,
    ClientState.BACKING_OFF: ClientEvent.BACK_OFF_ELAPSED,
    ClientState.DISABLED: ClientEvent.DISABLE_ELAPSED,
}


class ClientRegistration:
    """One client's registration with one server, as a state machine.

    Methods return what is to be sent now, or None. `now` is seconds of the caller's clock;
    `chance` a random number of [0, 1) for the jitter of a pause.
    """

    __slots__ = (
        "_disable_s",
        "_due_at",
        "_failures",
        "_policy",
        "_state",
        "_update_wanted",
        "_versions",
        "lifetime_s",
        "location",
        "lwm2m_version",
    )

    def __init__(
        self, lifetime_s: int, policy: RetryPolicy, versions: Sequence[str] = ("1.1",)
    ) -> None:
        """`versions` are those that the client speaks, the preferred one first."""
        self._policy = policy
        self._state = ClientState.UNREGISTERED
        self._due_at: float | None = None
        self._failures = 0
        self._update_wanted = False
        self._disable_s = 0.0
        self._versions = versions
        self.lwm2m_version = versions[0]
        self.lifetime_s = lifetime_s
        self.location: tuple[str, ...] = ()

    @classmethod
    def resumed(
        cls,
        lifetime_s: int,
        policy: RetryPolicy,
        versions: Sequence[str],
        location: tuple[str, ...],
        update_at: float | None,
    ) -> ClientRegistration:
        """One that stands at `location`, with the preferred version, until its next Update is due.

        That is all there is to know of a registration at rest: who has many keeps only that.
        """
        found = cls(lifetime_s, policy, versions)
        found._state = ClientState.REGISTERED
        found._due_at = update_at
        found.location = location
        return found

    @property
    def state(self) -> ClientState:
        """Where the client stands."""
        return self._state

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        return self._due_at

    def register(self) -> ClientAction | None:
        """Register, or register anew, with the preferred version."""
        self._failures = 0
        self.lwm2m_version = self._versions[0]
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

    def disable(self, disable_s: float, now: float) -> ClientAction | None:
        """The server wants to hear nothing for so long (/1/x/4 and /1/x/5): de-register, wait,
        register. Raises `IllegalTransition` while that goes on already.
        """
        self._disable_s = disable_s
        action = self._request(ClientEvent.DISABLE_REQUESTED)
        self._wait_if_disabled(now)
        return action

    def response_received(
        self,
        code: int,
        location: tuple[str, ...],
        now: float,
        chance: float = 0.0,
        max_age_s: int | None = None,
    ) -> ClientAction | None:
        """The server answered the latest request. Answers that came too late change nothing.

        `max_age_s` is what the answer's Max-Age says: how long a 5.03 holds (RFC 7252 §5.9.3.4).
        """
        if codes.is_success(code):
            return self._accepted(location, now)
        if code == codes.SERVICE_UNAVAILABLE and max_age_s is not None:
            return self._busy(max_age_s, now, chance)
        if code == codes.PRECONDITION_FAILED and self._take_older_version():
            return self._move(ClientEvent.VERSION_REFUSED)
        event = ClientEvent.NOT_FOUND if code == codes.NOT_FOUND else ClientEvent.REFUSED
        return self._failed(event, now, chance)

    def exchange_failed(self, now: float, chance: float = 0.0) -> ClientAction | None:
        """The server did not answer the latest request."""
        return self._failed(ClientEvent.UNANSWERED, now, chance)

    def alert_received(self, alert: int, now: float, chance: float = 0.0) -> ClientAction | None:
        """DTLS or TLS ended what the latest request waited for, with this alert."""
        event = ALERT_EVENTS[reaction_to(alert)]
        return None if event is None else self._failed(event, now, chance)

    def handle_timer(self, now: float) -> ClientAction | None:
        """An Update, or the end of a pause, is due."""
        if self._due_at is None or now < self._due_at:
            return None
        return self._move(_WAITS[self._state])

    def _accepted(self, location: tuple[str, ...], now: float) -> ClientAction | None:
        was_registering = self._state is ClientState.REGISTERING
        if CLIENT_TRANSITIONS[self._state][ClientEvent.ACCEPTED] is None:
            return None
        action = self._move(ClientEvent.ACCEPTED)
        self._wait_if_disabled(now)
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
        self._wait_if_disabled(now)
        if self._state is not ClientState.BACKING_OFF:
            return action
        self._failures += 1
        delay_s = self._policy.delay_s(self._failures, chance)
        if delay_s is None:
            return self._move(ClientEvent.RETRIES_EXHAUSTED)
        self._due_at = now + delay_s
        return None

    def _busy(self, max_age_s: int, now: float, chance: float) -> ClientAction | None:
        if CLIENT_TRANSITIONS[self._state][ClientEvent.SERVER_BUSY] is None:
            return None
        action = self._move(ClientEvent.SERVER_BUSY)
        self._wait_if_disabled(now)
        if self._state is ClientState.BACKING_OFF:
            # Not a failure: the server is there, and says when it wants to be asked.
            self._due_at = now + self._policy.lengthened(max_age_s, chance)
        return action

    def _take_older_version(self) -> bool:
        """Whether there was an older version to fall back to; only a Register negotiates."""
        following = self._versions.index(self.lwm2m_version) + 1
        if self._state is not ClientState.REGISTERING or following == len(self._versions):
            return False
        self.lwm2m_version = self._versions[following]
        return True

    def _wait_if_disabled(self, now: float) -> None:
        if self._state is ClientState.DISABLED:
            self._due_at = now + self._disable_s

    def _update_at(self, now: float) -> float | None:
        if self.lifetime_s == 0:
            return None
        return now + max(self.lifetime_s - self._policy.update_before_s, self.lifetime_s / 2)

    def _request(self, event: ClientEvent) -> ClientAction | None:
        if CLIENT_TRANSITIONS[self._state][event] is None:
            raise IllegalTransition(self._state, event)
        return self._move(event)

    def _move(self, event: ClientEvent) -> ClientAction | None:
        # Every caller has looked whether the table has this step.
        target = CLIENT_TRANSITIONS[self._state][event]
        assert target is not None
        self._state = target
        self._due_at = None
        if target is not ClientState.REGISTERED:
            self._update_wanted = False
        return ACTIONS.get(target)
