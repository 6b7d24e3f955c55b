"""The state of all devices now: presence, alarms, last sign of life; and who watches it change.

It follows the store: nothing is shown before it is durable. In memory it is a few words a device,
so that ten thousand of them are one answer.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from city_platform.ingestion.archive import DecodedPack
from city_platform.ingestion.changes import Changes, DeviceChange, PresenceShown
from city_platform.presence import PresenceState
from city_platform.stores.alarm_states import AlarmLevel
from city_platform.stores.device_states import LastSeen
from city_platform.stores.telemetry_desk import TelemetryDesk
from city_platform.stores.telemetry_store import CommitNews
from runtime.clock import Clock

# Own choices. What is written of last signs of life at one time, so that no commit waits long.
SAW_AT_ONCE: Final = 2_000
SAW_EVERY_S: Final = 30.0
# Without a reader for so long, changes are no longer kept: nobody pays for what nobody looks at.
WATCHED_S: Final = 90.0
STATES_AT_ONCE: Final = 1_000
_SHOWN: Final[dict[PresenceState, PresenceShown | None]] = {
    PresenceState.UNKNOWN: None,
    PresenceState.ONLINE: "online",
    PresenceState.OFFLINE: "offline",
}


class StateRow(NamedTuple):
    """A device: name, tenant, presence (None: nothing told), since when, alarm, last heard (µs)."""

    endpoint: str
    tenant: str
    presence: PresenceShown | None
    since_us: int
    alarm: AlarmLevel
    last_seen_us: int


class UnknownCursor(ValueError):
    """A cursor of another process, or one that goes back too far."""


class Cursor(NamedTuple):
    """Where a reader is: behind change `number`; with `endpoint` it still reads the state of all
    devices, and is behind that one."""

    number: int
    endpoint: str | None = None


class ChangePage(NamedTuple):
    """Changes and where to go on; with `is_resync` they are a page of the state of all devices."""

    cursor: Cursor
    changes: list[DeviceChange]
    is_resync: bool


class _Device:
    __slots__ = ("alarm", "last_seen_us", "presence", "since_us", "tenant")

    def __init__(self, tenant: str, last_seen_us: int) -> None:
        self.tenant = tenant
        self.last_seen_us = last_seen_us
        self.presence: PresenceShown | None = None
        self.since_us = 0
        self.alarm: AlarmLevel = "none"


class Live:
    """Devices by name. `load` it before anything else; `readers` is how many wait for changes."""

    def __init__(self, desk: TelemetryDesk, clock: Clock, devices_max: int) -> None:
        self._desk = desk
        self._clock = clock
        self._changes = Changes(devices_max)
        self._devices: dict[str, _Device] = {}
        self._names: list[str] = []
        self._unsaved: dict[str, _Device] = {}
        self._saved_ns = clock.now_ns()
        self._watched_until_ns = 0
        self._moved = asyncio.Event()
        self._is_closed = False
        # Who reads on behind another process's number must not go on as if nothing had been.
        self.epoch = f"{clock.wall_us():x}"
        self.readers = 0

    async def load(self) -> None:
        """Read what the store knows; what it no longer does is forgotten."""
        kept_states, levels = await self._desk.kept_states(), await self._desk.levels()
        self._devices = {}
        for kept in kept_states:
            device = self._devices[kept.endpoint] = _Device(kept.tenant, kept.last_seen_us)
            device.presence, device.since_us = _SHOWN[kept.presence], kept.since_us
        for endpoint, tenant, level in levels:
            self._device(endpoint, tenant).alarm = level
        self._names = []

    # ---- what the pipeline tells ----

    def saw(self, packs: Sequence[DecodedPack]) -> None:
        """Packs came, of which it is not said whether they are new."""
        devices, unsaved = self._devices, self._unsaved
        for pack in packs:
            if pack.uniform is not None:
                endpoint, tenant = pack.uniform[0], pack.uniform[1]
            elif pack.readings:
                endpoint, tenant = pack.readings[0][0], pack.readings[0][7]
            elif pack.alarms:
                endpoint, tenant = pack.alarms[0].alarm.endpoint, pack.alarms[0].tenant
            else:
                continue
            device = devices.get(endpoint)
            if device is None:
                device = self._device(endpoint, tenant)
            device.tenant = tenant
            if pack.received_us > device.last_seen_us:
                device.last_seen_us = pack.received_us
            unsaved[endpoint] = device

    async def committed(self, packs: Sequence[DecodedPack], at_us: int) -> None:
        """A batch is stored."""
        self.saw(packs)
        is_watched = self._is_watched()
        before = self._changes.newest
        if is_watched:
            for pack in packs:
                if pack.uniform is not None:
                    self._changes.read_pack(pack.uniform, at_us)
                elif pack.readings:
                    self._changes.read_pack(pack.readings, at_us)
        await self.refresh(at_us)
        if is_watched and self._changes.newest != before:
            self._wake()

    async def refresh(self, at_us: int) -> None:
        """Take over what changed of alarms and presence."""
        news = await self._desk.news()
        if news is not None:
            self._take(news, at_us)
            self._wake()

    async def save(self, *, is_last: bool = False) -> None:
        """Keep last signs of life when it is time, or now."""
        now_ns = self._clock.now_ns()
        if not is_last and now_ns - self._saved_ns < SAW_EVERY_S * 1e9:
            return
        self._saved_ns = now_ns
        unsaved, self._unsaved = self._unsaved, {}
        rows = [LastSeen(name, one.tenant, one.last_seen_us) for name, one in unsaved.items()]
        try:
            for start in range(0, len(rows), SAW_AT_ONCE):
                await self._desk.saw(rows[start : start + SAW_AT_ONCE])
        except BaseException:
            self._unsaved = unsaved | self._unsaved
            raise

    def close(self) -> None:
        """Let all who wait go."""
        self._is_closed = True
        self._wake()

    # ---- what readers ask ----

    def state(self, endpoint: str) -> StateRow | None:
        """One device, None when nothing was ever heard of it."""
        device = self._devices.get(endpoint)
        return None if device is None else _row(endpoint, device)

    def states(
        self, after: str, limit: int, tenants: Collection[str] | None
    ) -> tuple[list[StateRow], str | None]:
        """Devices of these tenants by name, behind a name; and the name to go on behind."""
        self._sort()
        found: list[StateRow] = []
        for index in range(bisect_right(self._names, after), len(self._names)):
            endpoint = self._names[index]
            device = self._devices[endpoint]
            if tenants is None or device.tenant in tenants:
                if len(found) == limit:
                    return found, found[-1].endpoint
                found.append(_row(endpoint, device))
        return found, None

    def begin(self) -> Cursor:
        """The cursor of a reader that has nothing: it gets the state of all devices first."""
        self._watch()
        return Cursor(self._changes.newest, "")

    def check(self, cursor: Cursor) -> None:
        """Raises `UnknownCursor` for one that can no longer be followed."""
        self._watch()
        if not self._changes.forgotten <= cursor.number <= self._changes.newest:
            raise UnknownCursor("what came behind this cursor is no longer kept")

    async def follow(
        self, cursor: Cursor, tenants: Collection[str] | None, limit: int, wait_s: float,
        gather_s: float,
    ) -> ChangePage:  # fmt: skip
        """Changes behind a cursor, waiting at most so long for one.

        A page of the state is answered at once. What comes within `gather_s` of the first change
        comes along, so that a busy city is a few answers a second. Raises `UnknownCursor`.
        """
        if cursor.endpoint is not None:
            return self._state_page(cursor, tenants, limit)
        self.readers += 1
        try:
            async with asyncio.timeout(wait_s):
                while not self._is_closed:
                    moved = self._moved
                    found, number = self._changes.after(cursor.number, tenants, 1)
                    if found:
                        await asyncio.sleep(gather_s)
                        break
                    # What is not theirs is behind them now.
                    cursor = Cursor(number)
                    await moved.wait()
        except TimeoutError:
            pass
        finally:
            self.readers -= 1
        changes, number = self._changes.after(cursor.number, tenants, limit)
        self.check(cursor)
        return ChangePage(Cursor(number), changes, is_resync=False)

    def _state_page(
        self, cursor: Cursor, tenants: Collection[str] | None, limit: int
    ) -> ChangePage:
        rows, following = self.states(cursor.endpoint or "", min(limit, STATES_AT_ONCE), tenants)
        changes = [
            DeviceChange(
                endpoint=row.endpoint, tenant=row.tenant, at=row.last_seen_us,
                values=self._changes.values(row.endpoint), presence=row.presence, alarm=row.alarm,
            )
            for row in rows
        ]  # fmt: skip
        return ChangePage(Cursor(cursor.number, following), changes, is_resync=True)

    def _take(self, news: CommitNews, at_us: int) -> None:
        is_watched = self._is_watched()
        for endpoint, tenant, state, since_us in news.presence:
            presence = _SHOWN[state]
            device = self._device(endpoint, tenant)
            device.presence, device.since_us = presence, since_us
            device.last_seen_us = max(device.last_seen_us, since_us)
            if is_watched and presence is not None:
                self._changes.set_presence(endpoint, tenant, presence, at_us)
        for endpoint, tenant, level in news.levels:
            device = self._device(endpoint, tenant)
            if device.alarm != level:
                device.alarm = level
                if is_watched:
                    self._changes.set_alarm(endpoint, tenant, level, at_us)

    def _device(self, endpoint: str, tenant: str) -> _Device:
        device = self._devices.get(endpoint)
        if device is None:
            device = self._devices[endpoint] = _Device(tenant, 0)
            self._names = []
        return device

    def _sort(self) -> None:
        if len(self._names) != len(self._devices):
            self._names = sorted(self._devices)

    def _watch(self) -> None:
        if not self._is_watched():
            # What went by meanwhile is not in here.
            self._changes.forget()
        self._watched_until_ns = self._clock.now_ns() + int(WATCHED_S * 1e9)

    def _is_watched(self) -> bool:
        if self._clock.now_ns() < self._watched_until_ns:
            return True
        if self._watched_until_ns:
            self._watched_until_ns = 0
            self._changes.forget()
            # A cursor from before the pause must not look as if nothing had happened in it.
            self._changes.newest += 1
            self._changes.forgotten = self._changes.newest
        return False

    def _wake(self) -> None:
        # Each reader waits on the event that was there when it looked: none misses a change.
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _row(endpoint: str, device: _Device) -> StateRow:
    return StateRow(
        endpoint, device.tenant, device.presence, device.since_us, device.alarm,
        device.last_seen_us,
    )  # fmt: skip
