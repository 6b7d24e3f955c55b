"""What becomes of an alarm: raised, cleared, acknowledged, repeated, flapping. Pure.

An *episode* is one alarm of one source on one device from its first raising until it is over and
somebody has acknowledged it. Raised again before that, it is the same episode, repeated. One that
comes and goes faster than `FlappingLimits` says is one flapping episode and not a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from contracts.telemetry import Severity

AlarmState = Literal[
    "raised", "acknowledged", "flapping", "acknowledged_flapping", "cleared", "closed"
]
AlarmOccurrence = Literal[
    "raised", "cleared", "acknowledged", "flapped", "settled_raised", "settled_cleared"
]
AlarmSource = Literal["device", "signal"]
AlarmLevel = Literal["none", "warning", "critical"]

# Every cell: what is not said changes nothing.
TRANSITIONS: Final[Mapping[AlarmState, Mapping[AlarmOccurrence, AlarmState]]] = {
    "raised": {"cleared": "cleared", "acknowledged": "acknowledged", "flapped": "flapping"},
    "acknowledged": {"cleared": "closed"},
    "flapping": {
        "acknowledged": "acknowledged_flapping",
        "settled_raised": "raised",
        "settled_cleared": "cleared",
    },
    "acknowledged_flapping": {"settled_raised": "acknowledged", "settled_cleared": "closed"},
    "cleared": {"raised": "raised", "acknowledged": "closed", "flapped": "flapping"},
    "closed": {},
}
FLAPPING: Final[frozenset[AlarmState]] = frozenset({"flapping", "acknowledged_flapping"})
_LEVELS: Final[Mapping[Severity, AlarmLevel]] = {
    "minor": "warning",
    "major": "warning",
    "critical": "critical",
}


class FlappingLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an alarm that comes and goes is flapping, and how episodes are cut. Own choices."""

    changes: int = 6
    """So many raisings and clearings …"""
    within_s: float = 600.0
    """… within this device time are flapping: three times on and off in ten minutes."""
    calm_s: float = 600.0
    """Without a change for so long, as received, it is what it was last."""
    repeats_within_s: float = 86_400.0
    """Raised again so soon after its end, and not acknowledged, it is the same episode."""


class AlarmSignal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A boolean resource that is true while an alarm stands."""

    object: int
    resource: int
    alarm: str
    severity: Severity


class AlarmChange(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm was said to be raised, or over. `time_us` is the device's, `received_us` ours."""

    endpoint: str
    tenant: str
    path: str
    alarm: str
    is_raised: bool
    severity: Severity
    time_us: int
    received_us: int
    source: AlarmSource
    value: float | None = None
    threshold: float | None = None


class AlarmEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode. Times of raising, change and clearing are the device's, all in microseconds.

    `is_raised` is what was said last, which a flapping one's state does not tell. `raises` counts
    how often it was raised. `changes` are the times of the last raisings and clearings. `source`:
    the device sent an alarm, or a signal among its readings was mapped to one.
    """

    id: int
    endpoint: str
    tenant: str
    path: str
    alarm: str
    severity: Severity
    state: AlarmState
    is_raised: bool
    source: AlarmSource
    raised_us: int
    changed_us: int
    cleared_us: int | None
    received_us: int
    raises: int
    value: float | None
    threshold: float | None
    acknowledged_us: int | None = None
    acknowledged_by: str = ""
    note: str = ""
    changes: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """Which alarm it is: device, path, name."""
        return self.endpoint, self.path, self.alarm

    @property
    def is_standing(self) -> bool:
        """Whether it is there now, or keeps coming back."""
        return self.is_raised or self.state in FLAPPING


def next_state(state: AlarmState, occurrence: AlarmOccurrence) -> AlarmState:
    """The table's cell."""
    return TRANSITIONS[state].get(occurrence, state)


def opened(change: AlarmChange, number: int) -> AlarmEpisode:
    """A new episode, of a raising."""
    return AlarmEpisode(
        id=number,
        endpoint=change.endpoint,
        tenant=change.tenant,
        path=change.path,
        alarm=change.alarm,
        severity=change.severity,
        state="raised",
        is_raised=True,
        source=change.source,
        raised_us=change.time_us,
        changed_us=change.time_us,
        cleared_us=None,
        received_us=change.received_us,
        raises=1,
        value=change.value,
        threshold=change.threshold,
        changes=(change.time_us,),
    )


def is_same_episode(episode: AlarmEpisode, change: AlarmChange, limits: FlappingLimits) -> bool:
    """Whether a raising goes on with the last episode of its alarm; else it opens another."""
    if episode.is_standing:
        return True
    is_soon = change.time_us - episode.changed_us <= limits.repeats_within_s * 1e6
    return episode.state == "cleared" and is_soon


def changed(episode: AlarmEpisode, change: AlarmChange, limits: FlappingLimits) -> AlarmEpisode:
    """The episode after a change; the same object when it says nothing new.

    One that comes late, older than the last, is history and changes nothing.
    """
    if change.time_us < episode.changed_us:
        return episode
    episode = settled(episode, change.received_us, limits)
    if change.is_raised is episode.is_raised:
        return _repeated(episode, change)
    occurrence: AlarmOccurrence = "raised" if change.is_raised else "cleared"
    changes = (*episode.changes, change.time_us)[-limits.changes :]
    state = next_state(episode.state, occurrence)
    if len(changes) == limits.changes and changes[-1] - changes[0] <= limits.within_s * 1e6:
        state = next_state(state, "flapped")
    moved = msgspec.structs.replace(
        episode,
        tenant=change.tenant,
        state=state,
        is_raised=change.is_raised,
        changed_us=change.time_us,
        cleared_us=None if change.is_raised else change.time_us,
        received_us=change.received_us,
        raises=episode.raises + change.is_raised,
        changes=changes,
    )
    return _with_facts(moved, change) if change.is_raised else moved


def _repeated(episode: AlarmEpisode, change: AlarmChange) -> AlarmEpisode:
    if not change.is_raised:
        return episode
    if change.time_us == episode.changed_us:
        # The alarm and the reading that shows it, in two packs: one fact.
        return _with_facts(episode, change) if change.source == "device" else episode
    if change.source == "signal":
        return episode
    again = msgspec.structs.replace(
        episode,
        state=next_state(episode.state, "raised"),
        changed_us=change.time_us,
        received_us=change.received_us,
        raises=episode.raises + 1,
    )
    return _with_facts(again, change)


def _with_facts(episode: AlarmEpisode, change: AlarmChange) -> AlarmEpisode:
    return msgspec.structs.replace(
        episode,
        severity=change.severity,
        source=change.source,
        value=change.value,
        threshold=change.threshold,
    )


def settled(episode: AlarmEpisode, now_us: int, limits: FlappingLimits) -> AlarmEpisode:
    """The episode once it has been calm for long enough, or the same object."""
    if episode.state not in FLAPPING or now_us - episode.received_us < limits.calm_s * 1e6:
        return episode
    occurrence: AlarmOccurrence = "settled_raised" if episode.is_raised else "settled_cleared"
    return msgspec.structs.replace(
        episode, state=next_state(episode.state, occurrence), changes=episode.changes[-1:]
    )


def acknowledged(episode: AlarmEpisode, who: str, at_us: int, note: str) -> AlarmEpisode:
    """The episode with who acknowledged it; the same object when that changes nothing."""
    state = next_state(episode.state, "acknowledged")
    if state == episode.state:
        return episode
    return msgspec.structs.replace(
        episode, state=state, acknowledged_us=at_us, acknowledged_by=who, note=note
    )


def level_of(severities: Mapping[object, Severity]) -> AlarmLevel:
    """How bad a device with these standing alarms looks from afar."""
    levels = {_LEVELS[severity] for severity in severities.values()}
    return "critical" if "critical" in levels else "warning" if levels else "none"
