"""Which devices still wait for their credentials, and when each is driven again; without I/O."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from city_platform.bootstrap.decision import SendCredentials
from city_platform.bootstrap.window import Window


class Stand(Enum):
    """Where a device stands with its credentials."""

    ABSENT = "absent"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    GIVEN_UP = "given_up"
    ENDED = "ended"

    # Looked up in tables for every message: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class Occurrence(Enum):
    """What moves a device on."""

    SEND_DECIDED = "send_decided"
    CONFIRMED = "confirmed"
    REGISTRATION_ENDED = "registration_ended"
    PATIENCE_ENDED = "patience_ended"

    # Looked up in tables for every message: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


TRANSITIONS: dict[Stand, dict[Occurrence, Stand]] = {
    Stand.ABSENT: {
        Occurrence.SEND_DECIDED: Stand.PENDING,
        # Who lost its memory learns it from the server's event.
        Occurrence.CONFIRMED: Stand.CONFIRMED,
    },
    Stand.PENDING: {
        Occurrence.SEND_DECIDED: Stand.PENDING,
        Occurrence.CONFIRMED: Stand.CONFIRMED,
        Occurrence.REGISTRATION_ENDED: Stand.ENDED,
        Occurrence.PATIENCE_ENDED: Stand.GIVEN_UP,
    },
    Stand.CONFIRMED: {
        Occurrence.SEND_DECIDED: Stand.PENDING,
        Occurrence.CONFIRMED: Stand.CONFIRMED,
    },
    Stand.GIVEN_UP: {
        Occurrence.SEND_DECIDED: Stand.PENDING,
        Occurrence.CONFIRMED: Stand.CONFIRMED,
        Occurrence.REGISTRATION_ENDED: Stand.ENDED,
    },
    Stand.ENDED: {
        Occurrence.SEND_DECIDED: Stand.PENDING,
        # Written just before the registration ended: the device has it all the same.
        Occurrence.CONFIRMED: Stand.CONFIRMED,
    },
}


class DeviceStand(msgspec.Struct, frozen=True, kw_only=True):
    """One device's row. `version` is the one wanted; `since_us` when it was first decided."""

    endpoint: str
    stand: Stand
    server: str
    registration_id: str
    version: str
    confirmed_version: str | None
    since_us: int

    @property
    def sends(self) -> SendCredentials:
        """What is to be sent to the device."""
        return SendCredentials(self.endpoint, self.server, self.registration_id, self.version)


class DriveTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When credentials are driven again."""

    # When the same registration is told again while its credentials are on their way: how long a
    # confirmation may still be behind it, in seconds, before they are sent again.
    settle_s: float = 0.5
    # First pause before the same credentials are sent again, in seconds; doubled each time.
    first_s: float = 3.0
    # The longest pause, in seconds.
    longest_s: float = 60.0
    # Given up after this many seconds, until the device registers again.
    patience_s: float = 3_600.0
    # Drives on their way through one bridge; more wait here. Twice what a bridge of 2,000 devices
    # a second has under way in half a second: more would only wait in its queue instead.
    on_their_way_max: int = 1_000
    # As many in the beginning, and after `first_s` without a confirmation; one more with each. What
    # 2,000 devices a second have under way when a device takes a twentieth of a second.
    on_their_way_first: int = 100


class Drives:
    """All devices that were ever sent credentials. Each change returns the row to keep.

    After `begin` ask `may_send`: what may not be sent yet comes out of `due` when it may. What is
    still under way at its bridge is not driven again, however late it is: see `Window`.
    """

    def __init__(
        self, times: DriveTimes, chance: Callable[[], float], rows: Iterable[DeviceStand] = ()
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._times = times
        self._chance = chance
        self._devices = {row.endpoint: row for row in rows}
        self._attempts: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._due_us: dict[str, int] = {}
        # Whose registration was told again: what was on its way there may be gone.
        self._asked_again: set[str] = set()
        self._windows: defaultdict[str, Window] = defaultdict(self._new_window)
        for row in self._devices.values():
            if row.stand is Stand.PENDING:
                # A restart drives all that is pending at once; the driver's own bound spreads it.
                self._schedule(row.endpoint, 0)

    def get(self, endpoint: str) -> DeviceStand | None:
        """The device's row."""
        return self._devices.get(endpoint)

    def confirmed_version(self, endpoint: str) -> str | None:
        """The version that the device was last seen to have."""
        row = self._devices.get(endpoint)
        return row.confirmed_version if row else None

    @property
    def pending(self) -> int:
        """How many devices wait for their credentials, sent or not."""
        return len(self._due_us) + self.queued

    @property
    def queued(self) -> int:
        """How many of them wait here until others have theirs."""
        return sum(window.queued for window in self._windows.values())

    @property
    def on_their_way(self) -> int:
        """How many of them are being written, as far as is known."""
        return sum(window.on_their_way for window in self._windows.values())

    def is_pending(self, sends: SendCredentials) -> bool:
        """Whether exactly this is being driven already."""
        row = self._devices.get(sends.endpoint)
        return row is not None and row.stand is Stand.PENDING and row.sends == sends

    def begin(self, sends: SendCredentials, now_us: int) -> DeviceStand:
        """Credentials are sent now, and again until they are confirmed."""
        before = self._devices.get(sends.endpoint)
        stand = self._following(before, Occurrence.SEND_DECIDED)
        is_same = before is not None and before.stand is Stand.PENDING and before.sends == sends
        row = DeviceStand(
            endpoint=sends.endpoint,
            stand=stand or Stand.PENDING,
            server=sends.server,
            registration_id=sends.registration_id,
            version=sends.version,
            confirmed_version=before.confirmed_version if before else None,
            since_us=before.since_us if before and is_same else now_us,
        )
        self._devices[sends.endpoint] = row
        if not is_same:
            self._attempts.pop(sends.endpoint, None)
        if before is not None:
            self._windows[before.server].leave(sends.endpoint)
        self._postpone(sends.endpoint, now_us)
        return row

    def may_send(self, endpoint: str, now_us: int) -> bool:
        """Whether what was begun may be sent now; else `due` brings it when there is room."""
        if self._windows[self._devices[endpoint].server].enter(endpoint, now_us):
            return True
        self._due_us.pop(endpoint, None)
        self.counts["had_to_queue"] += 1
        return False

    def settle(self, endpoint: str, now_us: int) -> None:
        """What is pending was asked for again: drive it soon, unless a confirmation comes first.

        After a snapshot the events that the bridge had not yet published follow, and among them
        may be the confirmation; sending at once would write everything anew.
        """
        due_us = now_us + round(self._times.settle_s * 1e6)
        if endpoint in self._due_us and due_us < self._due_us[endpoint]:
            self.counts["asked_again"] += 1
            self._asked_again.add(endpoint)
            self._schedule(endpoint, due_us)

    def confirm(
        self, endpoint: str, server: str, registration_id: str | None, version: str, now_us: int
    ) -> DeviceStand | None:
        """The server saw the device take `version`. None when something else is wanted by now."""
        before = self._devices.get(endpoint)
        if before and before.stand is Stand.PENDING:
            registration_id = registration_id or before.registration_id
            if (before.registration_id, before.version) != (registration_id, version):
                self.counts["confirmed_something_else"] += 1
                return None
        row = DeviceStand(
            endpoint=endpoint,
            stand=self._following(before, Occurrence.CONFIRMED) or Stand.CONFIRMED,
            server=server,
            registration_id=registration_id or "",
            version=version,
            confirmed_version=version,
            since_us=now_us,
        )
        self._devices[endpoint] = row
        self._windows[server].confirm(endpoint, now_us)
        self._forget_schedule(before or row)
        self.counts["confirmed"] += 1
        return row

    def end_registration(self, endpoint: str, registration_id: str) -> DeviceStand | None:
        """The device is gone: stop driving it until it registers again."""
        row = self._devices.get(endpoint)
        if row is None or row.registration_id != registration_id:
            return None
        return self._move(row, Occurrence.REGISTRATION_ENDED)

    def due(self, now_us: int, limit: int) -> tuple[list[SendCredentials], list[DeviceStand]]:
        """At most `limit` to send now, and the rows of those given up."""
        given_up: list[DeviceStand] = []
        again = self._released(now_us, limit)
        while self._due and self._due[0][0] <= now_us and len(again) < limit:
            due_us, endpoint = heapq.heappop(self._due)
            if self._due_us.get(endpoint) != due_us:
                continue
            row = self._devices[endpoint]
            if now_us - row.since_us > self._times.patience_s * 1e6:
                moved = self._move(row, Occurrence.PATIENCE_ENDED)
                given_up += [moved] if moved else []
            elif self._is_needed(row, now_us):
                self._postpone(endpoint, now_us)
                if self.may_send(endpoint, now_us):
                    self.counts["driven_again"] += 1
                    again.append(row.sends)
        return again, given_up

    def next_timer(self) -> int | None:
        """When `due` has something, in Unix microseconds."""
        while self._due and self._due_us.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        timers = [window.next_timer() for window in self._windows.values()]
        found = [at for at in timers if at is not None]
        return min([*found, self._due[0][0]] if self._due else found, default=None)

    def _new_window(self) -> Window:
        times = self._times
        return Window(times.on_their_way_max, round(times.first_s * 1e6), times.on_their_way_first)

    def _released(self, now_us: int, limit: int) -> list[SendCredentials]:
        """Those that waited for room and have it."""
        found: list[SendCredentials] = []
        for window in self._windows.values():
            for endpoint in window.released(now_us, limit - len(found)):
                self._postpone(endpoint, now_us)
                found.append(self._devices[endpoint].sends)
        return found

    def _is_needed(self, row: DeviceStand, now_us: int) -> bool:
        """Whether what is due is to be driven again; else it is asked about once more."""
        if row.endpoint in self._asked_again:
            self._asked_again.discard(row.endpoint)
            return True
        if not self._windows[row.server].is_under_way(row.endpoint, now_us):
            return True
        self.counts["still_under_way"] += 1
        self._schedule(row.endpoint, now_us + round(self._times.first_s * 1e6))
        return False

    def _following(self, before: DeviceStand | None, occurrence: Occurrence) -> Stand | None:
        return TRANSITIONS[before.stand if before else Stand.ABSENT].get(occurrence)

    def _move(self, row: DeviceStand, occurrence: Occurrence) -> DeviceStand | None:
        stand = self._following(row, occurrence)
        if stand is None:
            return None
        moved = msgspec.structs.replace(row, stand=stand)
        self._devices[row.endpoint] = moved
        self._forget_schedule(row)
        self.counts[stand.value] += 1
        return moved

    def _postpone(self, endpoint: str, now_us: int) -> None:
        attempt = self._attempts[endpoint] = self._attempts.get(endpoint, 0) + 1
        times = self._times
        pause_s = min(times.longest_s, times.first_s * 2.0 ** min(attempt - 1, 30))
        # Up to a quarter more, so that what was interrupted together does not come together.
        self._schedule(endpoint, now_us + round(pause_s * (1 + 0.25 * self._chance()) * 1e6))

    def _schedule(self, endpoint: str, due_us: int) -> None:
        self._due_us[endpoint] = due_us
        heapq.heappush(self._due, (due_us, endpoint))

    def _forget_schedule(self, row: DeviceStand) -> None:
        self._due_us.pop(row.endpoint, None)
        self._attempts.pop(row.endpoint, None)
        self._asked_again.discard(row.endpoint)
        self._windows[row.server].leave(row.endpoint)
