"""From what the journal says to what Locust counts: stages and operations, with their latencies.

Locust shows a table of request types and names; here the type is the stage or the operation and
the name the device's model. Latencies are milliseconds from the moment that was meant: a device's
intended start, or that of a measurement; an operation without such a moment has none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from contracts.journal import (
    AlarmGenerated,
    CommandEnded,
    CommandIssued,
    CredentialsActivated,
    DeviceBootstrapped,
    DeviceConnected,
    DeviceDisconnected,
    DeviceRegistered,
    DeviceRegistrationFailed,
    DeviceStarted,
    DownlinkServed,
    EventLogged,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    ReadingsStored,
    Record,
)
from contracts.load import DevicePowerRestored

# Stages: the first time that a device came so far, since its intended start.
REGISTERED: Final = "registered"
CREDENTIALS_ACTIVATED: Final = "credentials_activated"
MQTT_CONNECTED: Final = "mqtt_connected"
READING_ACKNOWLEDGED: Final = "reading_acknowledged"
BOOTSTRAPPED: Final = "bootstrapped"
ONLINE: Final = "online"
# Operations.
REGISTERED_AGAIN: Final = "registered_again"
MQTT_CONNECTED_AGAIN: Final = "mqtt_connected_again"
MQTT_CONNECTION: Final = "mqtt_connection"
PUBLISH_STATE: Final = "publish_state"
PUBLISH_ALARM: Final = "publish_alarm"
UPDATE: Final = "update"
COMMAND: Final = "command"
DOWNLINK: Final = "downlink_"
# What the loader says of itself, without ever failing.
LOADER: Final = "loader"

NO_ANSWER: Final = "no answer"
_ENDED_MAX: Final = 10_000
_PUBLISH: Final = {"state": PUBLISH_STATE, "alarm": PUBLISH_ALARM}


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One line of Locust's: `milliseconds` None is an operation whose latency nobody knows."""

    kind: str
    name: str
    milliseconds: float | None = None
    failure: str = ""


class FleetOperations:
    """What the records of fleets amount to; `take` is called with each, in order of a file."""

    def __init__(self) -> None:
        self._models: dict[str, str] = {}
        self._intended_ns: dict[str, int] = {}
        self._reached: dict[str, set[str]] = {}
        self._disconnected_ns: dict[str, int] = {}
        self._made_ns: dict[tuple[str, str, str, int], int] = {}

    def take(self, record: Record) -> Iterator[Operation]:
        """The operations that this record ends."""
        match record:
            case DeviceStarted():
                self._models[record.endpoint] = record.model
                self._switched_on(record)
            case DevicePowerRestored():
                self._switched_on(record)
            case DeviceRegistered():
                yield self._stage(record, REGISTERED) or self._plain(record, REGISTERED_AGAIN)
            case DeviceRegistrationFailed():
                yield self._failed(record, REGISTERED, record.code or NO_ANSWER)
            case CredentialsActivated():
                stage = self._stage(record, CREDENTIALS_ACTIVATED)
                if stage is not None:
                    yield stage
            case DeviceConnected():
                yield self._stage(record, MQTT_CONNECTED) or self._connected_again(record)
            case DeviceDisconnected(reason="power lost"):
                pass  # it was switched off
            case DeviceDisconnected():
                self._disconnected_ns.setdefault(record.endpoint, record.at_ns)
                yield self._failed(record, MQTT_CONNECTION, record.reason)
            case DownlinkServed():
                kind = DOWNLINK + record.operation
                bad = "" if record.code.startswith("2.") else record.code
                yield Operation(kind, self._model(record.endpoint), None, bad)
            case _:
                yield from self._telemetry(record)

    def _telemetry(self, record: Record) -> Iterator[Operation]:
        match record:
            case PackGenerated():
                key = (record.endpoint, record.boot, "state", record.sequence)
                self._made_ns[key] = record.intended_at_ns or record.at_ns
            case AlarmGenerated():
                key = (record.endpoint, record.boot, "alarm", record.sequence)
                self._made_ns.setdefault(key, record.at_ns)
            case PackAcknowledged():
                if record.stream == "state":
                    stage = self._stage(record, READING_ACKNOWLEDGED)
                    if stage is not None:
                        yield stage
                yield self._published(record, "")
            case PackDropped():
                yield self._published(record, "dropped: the device's buffer was full")

    def _switched_on(self, record: DeviceStarted | DevicePowerRestored) -> None:
        # Switched on again, a device comes through its stages again.
        self._intended_ns[record.endpoint] = record.intended_at_ns
        self._reached[record.endpoint] = set()
        self._disconnected_ns.pop(record.endpoint, None)

    def _stage(
        self,
        record: DeviceRegistered | CredentialsActivated | DeviceConnected | PackAcknowledged,
        stage: str,
    ) -> Operation | None:
        """The operation, if it is the first of its kind since the device was switched on."""
        reached = self._reached.setdefault(record.endpoint, set())
        if stage in reached:
            return None
        reached.add(stage)
        return Operation(stage, self._model(record.endpoint), self._since_start(record))

    def _connected_again(self, record: DeviceConnected) -> Operation:
        lost_ns = self._disconnected_ns.pop(record.endpoint, None)
        milliseconds = None if lost_ns is None else (record.at_ns - lost_ns) / 1e6
        return Operation(MQTT_CONNECTED_AGAIN, self._model(record.endpoint), milliseconds)

    def _published(self, record: PackAcknowledged | PackDropped, failure: str) -> Operation:
        key = (record.endpoint, record.boot, record.stream, record.sequence)
        made_ns = self._made_ns.pop(key, None)
        milliseconds = None if made_ns is None else (record.at_ns - made_ns) / 1e6
        name = self._model(record.endpoint)
        return Operation(_PUBLISH[record.stream], name, milliseconds, failure)

    def _plain(self, record: DeviceRegistered, kind: str) -> Operation:
        return Operation(kind, self._model(record.endpoint))

    def _failed(
        self, record: DeviceRegistrationFailed | DeviceDisconnected, kind: str, failure: str
    ) -> Operation:
        return Operation(kind, self._model(record.endpoint), None, failure)

    def _since_start(
        self, record: DeviceRegistered | CredentialsActivated | DeviceConnected | PackAcknowledged
    ) -> float | None:
        intended_ns = self._intended_ns.get(record.endpoint)
        return None if intended_ns is None else (record.at_ns - intended_ns) / 1e6

    def _model(self, endpoint: str) -> str:
        return self._models.get(endpoint, "unknown")


class BenchOperations:
    """What the bench's own observers add: the server, and the store.

    `started` has to be called with the devices that were switched on; what is observed of others
    waits for it, since the files of a run are not read in step.
    """

    def __init__(self) -> None:
        self._started: dict[str, DeviceStarted] = {}
        self._reached: set[tuple[str, str]] = set()
        self._waiting: dict[str, list[tuple[str, int]]] = {}
        self._issued: dict[str, CommandIssued] = {}
        # Outcomes of commands that nobody is known to have posted: the platform's own, mostly.
        self._ended: OrderedDict[str, CommandEnded] = OrderedDict()

    def started(self, record: DeviceStarted) -> Iterator[Operation]:
        """A device was switched on: what was seen of it before its record was."""
        self._started[record.endpoint] = record
        for stage, at_ns in self._waiting.pop(record.endpoint, ()):
            yield self._operation(stage, record, at_ns)

    def take(self, record: Record) -> Iterator[Operation]:
        """The operations that this record of the server, the store tap or the runner ends."""
        match record:
            case DeviceBootstrapped():
                yield from self._stage(BOOTSTRAPPED, record.endpoint, record.at_ns)
            case ReadingsStored():
                for row in record.rows:
                    yield from self._stage(ONLINE, row[0], record.at_ns)
            case EventLogged() if record.kind == "updated":
                started = self._started.get(record.endpoint)
                yield Operation(UPDATE, "unknown" if started is None else started.model)
            case CommandIssued():
                # A device may be quicker than the answer to who posted it.
                ended = self._ended.pop(record.id, None)
                if ended is None:
                    self._issued[record.id] = record
                else:
                    yield self._command(record, ended)
            case CommandEnded() if record.id in self._issued:
                yield self._command(self._issued.pop(record.id), record)
            case CommandEnded():
                self._ended[record.id] = record
                if len(self._ended) > _ENDED_MAX:
                    self._ended.popitem(last=False)

    def _stage(self, stage: str, endpoint: str, at_ns: int) -> Iterator[Operation]:
        if (stage, endpoint) in self._reached:
            return
        self._reached.add((stage, endpoint))
        started = self._started.get(endpoint)
        if started is None:
            self._waiting.setdefault(endpoint, []).append((stage, at_ns))
        else:
            yield self._operation(stage, started, at_ns)

    def _operation(self, stage: str, started: DeviceStarted, at_ns: int) -> Operation:
        return Operation(stage, started.model, (at_ns - started.intended_at_ns) / 1e6)

    def _command(self, issued: CommandIssued, ended: CommandEnded) -> Operation:
        failure = "" if ended.code.startswith("2.") else ended.code or ended.stage
        started = self._started.get(issued.endpoint)
        name = "unknown" if started is None else started.model
        return Operation(COMMAND, name, (ended.at_ns - issued.intended_at_ns) / 1e6, failure)
