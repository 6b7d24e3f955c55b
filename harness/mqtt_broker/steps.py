"""Where the bench steps into the broker's way: gates that hold a bridge still for a kill, and the
planted defects that checks must find. An honest run has neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import cbor2
import msgspec

from contracts.topics import Topics, fill, filter_matches, match_template
from harness.mqtt_broker.core import Broker, Connection, Steps
from harness.mqtt_broker.session import Message
from mqtt.packets import Publish, encode_puback

GatePoint = Literal["event_received_not_published", "event_published_not_acknowledged"]
DefectKind = Literal["lose_one", "duplicate_one", "alter_value", "skip_ack", "misroute_one"]
Say = Callable[[Mapping[str, Any]], None]

_SENML_VALUE = 2


class Arm(msgspec.Struct, frozen=True):
    """Hold the bridge at the `occurrence`-th time it comes to `point`, counted from now."""

    point: GatePoint
    occurrence: int


class GateLine(msgspec.Struct, frozen=True):
    """One line on standard input: exactly one of the fields."""

    arm: Arm | None = None
    release: GatePoint | None = None
    # Read anchors, the broker's own certificate and what was revoked again.
    reload: bool = False


class Gates:
    """Holds a bridge's connection at a named point: nothing more is read from it or written to it.

    The hold ends when the connection closes, or on `release`.
    """

    def __init__(self, topics: Topics, say: Say) -> None:
        self._topics = topics
        self._filter = fill(topics.event)
        self._say = say
        self._left: dict[GatePoint, int] = {}
        self._held: dict[GatePoint, list[tuple[Broker, Connection, Publish]]] = {}

    def arm(self, wanted: Arm) -> None:
        """Set a gate; an earlier one at the same point is replaced."""
        self._left[wanted.point] = max(1, wanted.occurrence)

    def release(self, point: GatePoint) -> None:
        """Disarm the point and let go on what is held there."""
        self._left.pop(point, None)
        for broker, connection, publish in self._held.pop(point, ()):
            if connection.session is None:
                continue
            connection.unhold()
            # Processed, it may come to the other point, and be held there.
            if point == "event_received_not_published":
                broker.process(connection, publish)
            else:
                connection.send(encode_puback(publish.packet_id))

    def obey(self, wanted: GateLine) -> None:
        """Do what a line says."""
        if wanted.arm:
            self.arm(wanted.arm)
        if wanted.release:
            self.release(wanted.release)

    def admit(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return not self._stops("event_received_not_published", broker, connection, publish)

    def acknowledges(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return not self._stops("event_published_not_acknowledged", broker, connection, publish)

    def _stops(
        self, point: GatePoint, broker: Broker, connection: Connection, publish: Publish
    ) -> bool:
        left = self._left.get(point)
        if left is None or not filter_matches(self._filter, publish.topic):
            return False
        if left > 1:
            self._left[point] = left - 1
            return False
        del self._left[point]
        # Those that closed meanwhile are of no interest to `release`.
        held = [one for one in self._held.get(point, ()) if one[1].session is not None]
        self._held[point] = [*held, (broker, connection, publish)]
        connection.hold()
        self._say({"gate": point, "endpoint": self._topics.read_event(publish.topic).endpoint})
        return True


class Defect(msgspec.Struct, frozen=True):
    """A planted defect: it hits the first suitable state pack at or after the `after`-th one."""

    kind: DefectKind
    after: int
    seed: int = 0


class Tamper:
    """Does one wrong thing once, and tells the bench to which device."""

    def __init__(self, defect: Defect, topics: Topics, say: Say) -> None:
        self._defect = defect
        self._template = topics.state
        self._filter = fill(topics.state)
        self._say = say
        self._seen = 0
        self._done = False
        self._last_endpoint = ""

    def admit(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        if self._done or not filter_matches(self._filter, publish.topic):
            return True
        endpoint = match_template(self._template, publish.topic)["endpoint"]
        other, self._last_endpoint = self._last_endpoint, endpoint
        self._seen += 1
        if self._seen < self._defect.after or self._defect.kind == "skip_ack":
            return True
        return not self._strike(broker, connection, publish, endpoint, other)

    def acknowledges(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        if (
            self._done
            or self._defect.kind != "skip_ack"
            or self._seen < self._defect.after
            or not filter_matches(self._filter, publish.topic)
        ):
            return True
        self._tell(match_template(self._template, publish.topic)["endpoint"])
        return False

    def _strike(
        self, broker: Broker, connection: Connection, publish: Publish, endpoint: str, other: str
    ) -> bool:
        """Do the defect; False when this pack does not suit it."""
        message = Message(publish.topic, publish.payload, publish.qos)
        match self._defect.kind:
            case "lose_one":
                wrong = []
            case "duplicate_one":
                wrong = [message, message]
            case "misroute_one" if other not in ("", endpoint):
                wrong = [message._replace(topic=fill(self._template, endpoint=other))]
            case "alter_value" if (changed := altered(publish.payload)) is not None:
                wrong = [message._replace(payload=changed)]
            case _:
                return False
        for one in wrong:
            broker.distribute(one)
        if publish.qos:
            connection.send(encode_puback(publish.packet_id))
        self._tell(endpoint)
        return True

    def _tell(self, endpoint: str) -> None:
        self._done = True
        self._say({"defect": self._defect.kind, "endpoint": endpoint})


def altered(payload: bytes) -> bytes | None:
    """The pack with one more in its first plain number; None when it has none, or is no pack."""
    try:
        records = cbor2.loads(payload)
    except cbor2.CBORDecodeError:
        return None
    for record in records if isinstance(records, list) else ():
        value = record.get(_SENML_VALUE) if isinstance(record, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            record[_SENML_VALUE] = value + 1
            return cbor2.dumps(records)
    return None


class Both:
    """Two steps in turn; the first to stop a packet wins."""

    def __init__(self, first: Steps, second: Steps) -> None:
        self._first = first
        self._second = second

    def admit(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return self._first.admit(broker, connection, publish) and self._second.admit(
            broker, connection, publish
        )

    def acknowledges(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return self._first.acknowledges(broker, connection, publish) and self._second.acknowledges(
            broker, connection, publish
        )
