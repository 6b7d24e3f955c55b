"""A device's telemetry: when it measures, what becomes a pack, and which packs are under way."""

from __future__ import annotations

import math
from collections.abc import Iterable

from contracts.journal import (
    AlarmGenerated,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    PackSent,
)
from fake_devices.device.account import Stream
from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.moment import Moment
from fake_devices.device.outbox import Outbox, Pack
from fake_devices.device.telemetry import (
    AlarmChange,
    encode_alarm_pack,
    encode_state_pack,
    find_changed_alarms,
)
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes, DeviceIdentity, DeviceModel, Incident, Memory
from lwm2m.objects import ObjectPath


class Reporter:
    """Measures a device and makes its packs; `next_sample_at` is in monotonic seconds.

    `phase` in [0, 1) is the device's own place in the report interval, `born_s` the city time that
    the device was switched on at: what its model remembers begins there.
    """

    __slots__ = (
        "_alarm_sequence",
        "_born_s",
        "_environment",
        "_identity",
        "_incidents",
        "_last_us",
        "_memory",
        "_model",
        "_phase",
        "_pinned",
        "_plans",
        "_raised",
        "_sequence",
        "boot",
        "next_sample_at",
        "outbox",
        "streams",
    )

    def __init__(
        self,
        environment: Environment,
        identity: DeviceIdentity,
        model: DeviceModel,
        born_s: float,
        phase: float,
        incidents: tuple[IncidentPlan, ...],
    ) -> None:
        self._environment = environment
        self._identity = identity
        self._model = model
        self._born_s = born_s
        # Made by the first measurement: many a device is set up and measures later, or never.
        self._memory: Memory | None = None
        self._phase = phase
        self._plans = incidents
        self._incidents: tuple[Incident, ...] | None = None
        # What a schedule says is so, whatever the model would measure.
        self._pinned: Changes | None = None
        self._last_us = 0
        self._sequence = self._alarm_sequence = self._raised = 0
        self.boot = environment.draw_boot_id()
        self.streams: tuple[Stream, ...] = ()
        self.next_sample_at: float | None = None
        self.outbox: Outbox | None = None

    # ---- measuring ----

    def begin(self, tree: ObjectTree, moment: Moment) -> None:
        """A connection is there. On the first of a boot the first pack is made, and on the very
        first incidents begin to count."""
        if self._incidents is None:
            began_s = self._city_s(moment.unix_us)
            self._incidents = tuple(
                Incident(plan.kind, began_s + plan.begins_after_s, began_s + plan.ends_after_s)
                for plan in self._plans
            )
        if self._sequence == 0:
            self.sample(tree, moment)

    def set_streams(self, streams: tuple[Stream, ...], now: float) -> None:
        """These are the active publications from now on."""
        self.streams = streams
        if streams and self._incidents is not None and self.next_sample_at is None:
            self.next_sample_at = self._next_sample(now)

    def reboot(self, *, keeps_alarms: bool = False) -> None:
        """Number packs and alarms from 1 again, under a new boot id.

        `keeps_alarms`: it knows which alarms stood, so that one that is over meanwhile is cleared.
        """
        self.boot = self._environment.draw_boot_id()
        self._sequence = self._alarm_sequence = 0
        if not keeps_alarms:
            self._raised = 0

    def measure(self, tree: ObjectTree, unix_us: int) -> None:
        """Bring the device's values up to date."""
        if self._memory is None:
            self._memory = self._model.new_memory(self._identity, self._born_s)
        changes, self._memory = self._model.sense(
            self._identity, self._city_s(unix_us), tree, self._memory, self._incidents or ()
        )
        tree.apply(changes)
        if self._pinned is not None:
            tree.apply(self._pinned)

    def pin(self, changes: Changes) -> None:
        """These values are so from now on, whatever the model would measure."""
        self._pinned = {**(self._pinned or {}), **changes}

    def unpin(self, paths: Iterable[ObjectPath]) -> None:
        """A server wrote these: a schedule does not say any more what they are."""
        if self._pinned is not None:
            for path in paths:
                self._pinned.pop(path, None)

    def begin_incident(self, kind: str, unix_us: int) -> None:
        """An incident goes on from now until `end_incident`."""
        if self._incidents is None:
            self._plans = (*self._plans, IncidentPlan(kind, 0.0, math.inf))
        else:
            begins_s = self._city_s(unix_us)
            self._incidents = (*self._incidents, Incident(kind, begins_s, math.inf))

    def end_incident(self, kind: str, unix_us: int) -> None:
        """Every incident of this kind that has no end is over; nothing when there is none."""
        self._plans = tuple(
            [each for each in self._plans if each.kind != kind or each.ends_after_s != math.inf]
        )
        if self._incidents is not None:
            now_s = self._city_s(unix_us)
            self._incidents = tuple(
                [
                    Incident(kind, each.begins_s, now_s)
                    if each.kind == kind and each.ends_s == math.inf
                    else each
                    for each in self._incidents
                ]
            )

    def sample(self, tree: ObjectTree, moment: Moment, intended_at_ns: int = 0) -> None:
        """Measure, and put what the streams ask for into the outbox.

        `intended_at_ns`: when that was meant to be; 0 where nothing says so.
        """
        self.next_sample_at = self._next_sample(moment.now) if self.streams else None
        # A clock that was set back must not give two readings the same time.
        time_us = self._last_us = max(moment.unix_us, self._last_us + 1)
        self.measure(tree, time_us)
        for stream in self.streams:
            if stream.name == "state":
                self._report_state(tree, stream, time_us, moment, intended_at_ns)
            else:
                self._report_alarms(tree, stream, time_us, moment)

    def _report_state(
        self,
        tree: ObjectTree,
        stream: Stream,
        time_us: int,
        moment: Moment,
        intended_at_ns: int,
    ) -> None:
        plan = self._environment.plan(self._model, stream, tree.template.models)
        endpoint, sequence = self._identity.endpoint, self._sequence + 1
        payload, records = encode_state_pack(endpoint, plan, tree, sequence, self.boot, time_us)
        if not records:
            return
        self._sequence = sequence
        self._environment.record(
            PackGenerated(
                at_ns=moment.at_ns,
                endpoint=endpoint,
                boot=self.boot,
                sequence=sequence,
                records=records,
                intended_at_ns=intended_at_ns,
            )
        )
        self._keep(stream, payload, moment)

    def _report_alarms(
        self, tree: ObjectTree, stream: Stream, time_us: int, moment: Moment
    ) -> None:
        self._raised, changes = find_changed_alarms(
            self._model.alarm_rules,
            self._raised,
            self._environment.alarms(self._model, stream),
            tree,
            self._alarm_sequence,
        )
        if not changes:
            return
        self._sequence += 1
        self._alarm_sequence = changes[-1].sequence
        for change in changes:
            self._record_alarm(change, time_us, moment)
        payload = encode_alarm_pack(
            self._identity.endpoint, changes, self._sequence, self.boot, time_us
        )
        self._keep(stream, payload, moment)

    def _record_alarm(self, change: AlarmChange, time_us: int, moment: Moment) -> None:
        self._environment.record(
            AlarmGenerated(
                at_ns=moment.at_ns,
                endpoint=self._identity.endpoint,
                boot=self.boot,
                sequence=self._sequence,
                path=str(change.rule.path),
                time_us=time_us,
                alarm=change.rule.alarm,
                raised=change.raised,
                severity=change.rule.severity,
            )
        )

    def _next_sample(self, now: float) -> float | None:
        if not self._environment.settings.reports_by_itself:
            return None
        # Each device speaks at its own point of a common grid; the pack that follows a connection
        # comes when it comes, and the next one not sooner than half an interval later.
        every = self._environment.settings.report_every_s
        begins = self._phase * every
        turn = math.floor((now + every / 2 - begins) / every) + 1
        return begins + turn * every

    def _city_s(self, unix_us: int) -> float:
        return self._environment.settings.city_s(unix_us)

    # ---- packs under way ----

    @property
    def unacknowledged(self) -> int:
        """Packs that were made and that no broker has taken over."""
        return 0 if self.outbox is None else len(self.outbox)

    @property
    def can_report(self) -> bool:
        """Whether it has streams, and was connected before."""
        return bool(self.streams) and self._incidents is not None

    @property
    def waiting(self) -> int:
        """Packs that the session has not been given."""
        return 0 if self.outbox is None else self.outbox.waiting

    def lose_session(self) -> None:
        """The MQTT session is gone: what was in flight waits again."""
        if self.outbox is not None:
            self.outbox.lose_session()

    def next_pack(self, moment: Moment) -> Pack | None:
        """The next pack to hand to the connection, None when none waits or the window is full."""
        outbox = self.outbox
        if outbox is None or not outbox.waiting:
            return None
        if outbox.in_flight >= self._environment.settings.in_flight_max:
            return None
        pack = outbox.take()
        self._record_sent(pack, moment)
        if pack.qos == 0:
            outbox.acknowledge(*pack.key)
        return pack

    def repeat_in_flight(self, moment: Moment) -> None:
        """The MQTT session goes on: it repeats with DUP what was in flight."""
        if self.outbox is not None:
            for pack in self.outbox.packs_in_flight():
                pack.attempt += 1
                self._record_sent(pack, moment)

    def acknowledge(self, boot: str, sequence: int, moment: Moment) -> bool:
        """The broker has taken a pack over; whether that was news."""
        pack = None if self.outbox is None else self.outbox.acknowledge(boot, sequence)
        if pack is None:
            return False
        self._environment.record(
            PackAcknowledged(
                at_ns=moment.at_ns,
                endpoint=self._identity.endpoint,
                boot=boot,
                sequence=sequence,
                stream=pack.stream,
            )
        )
        return True

    def _keep(self, stream: Stream, payload: bytes, moment: Moment) -> None:
        pack = Pack(
            self.boot, self._sequence, stream.name, stream.topic, stream.qos, stream.retain, payload
        )
        if self.outbox is None:
            self.outbox = Outbox()
        settings = self._environment.settings
        given_up = self.outbox.add(pack, settings.buffer_packs_max, settings.buffer_drop)
        if given_up is not None:
            self._environment.record(
                PackDropped(
                    at_ns=moment.at_ns,
                    endpoint=self._identity.endpoint,
                    boot=given_up.boot,
                    sequence=given_up.sequence,
                    stream=given_up.stream,
                )
            )

    def _record_sent(self, pack: Pack, moment: Moment) -> None:
        self._environment.record(
            PackSent(
                at_ns=moment.at_ns,
                endpoint=self._identity.endpoint,
                boot=pack.boot,
                sequence=pack.sequence,
                stream=pack.stream,
                attempt=pack.attempt,
            )
        )
