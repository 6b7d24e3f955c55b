"""What a bridge does, without I/O: frames, MQTT messages and PUBACKs in; frames and publishes out.

An event's bytes are published as they came. An event is acknowledged to the server when its
PUBACK is here and those of all before it are. Commands are passed on only for devices that the
server holds; everything refused or ignored is counted by reason.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Literal
from zlib import crc32

import msgspec

from city_platform.bridge.acknowledgements import ContiguousProgress
from city_platform.bridge.commands import CommandGate
from city_platform.bridge.config import Limits
from city_platform.bridge.credentials import CredentialsDesk, OpenSealed
from city_platform.bridge.frames import (
    ServerFrameHead,
    read_event_number,
    read_frame,
    read_registration,
)
from city_platform.bridge.link import Happening, Link, PeerError, follow
from city_platform.bridge.procedure import ID_PREFIX
from city_platform.bridge.publications import Publication, SnapshotEntry, Token
from city_platform.bridge.registry import RegistrationHead, Registry
from city_platform.endpoint_topics import EndpointTopic
from contracts.bridge_status import BridgeLoad
from contracts.data_interface import (
    Ack,
    Completes,
    Event,
    Outcome,
    Resume,
    encode,
)
from contracts.errors import ContractError, UnsupportedVersion
from contracts.names import is_endpoint_name
from contracts.topics import Topics

# What the server complained of and nobody has asked about yet; the oldest are forgotten.
COMPLAINTS_MAX = 10
# Kinds of events whose topics are remembered; servers have a dozen.
_KINDS_MAX = 100


class BridgeCore:
    """One bridge beside one server. `open_sealed` opens what was sealed to its certificate.

    Times are Unix microseconds. Whatever is drained (`…_to_…` methods) is handed over for good.
    Publications leave on `lanes` connections; all of one endpoint on the same, in order.
    """

    def __init__(
        self,
        server: str,
        topics: Topics,
        open_sealed: OpenSealed,
        limits: Limits,
        lanes: int = 1,
    ) -> None:
        self.server = server
        self.link = Link.OFFLINE
        self.counts: Counter[str] = Counter()
        self.registry = Registry()
        self._gate = CommandGate(server, self.registry, self.counts)
        self._topics = topics
        self._limits = limits
        self._epoch: str | None = None
        self._as_of = -1
        self._progress = ContiguousProgress()
        self._ack_due = False
        self._staged: dict[str, tuple[RegistrationHead, msgspec.Raw]] = {}
        self._frames: deque[bytes] = deque()
        self._lanes: list[deque[Publication | SnapshotEntry]] = [deque() for _ in range(lanes)]
        self._told_unacknowledged = 0
        self._complaints: deque[str] = deque(maxlen=COMPLAINTS_MAX)
        self._waiting: deque[tuple[str, bytes, Hashable]] = deque()
        self._handled: list[Hashable] = []
        self._desk = CredentialsDesk(
            server, open_sealed, self.registry, self.counts,
            procedures_max=limits.procedures_max,
            waiting_max=limits.messages_waiting_max,
            tries_max=limits.tries_max,
            expires_in_us=round(limits.command_expires_in_s * 1e6),
            grace_us=round(limits.outcome_grace_s * 1e6),
        )  # fmt: skip
        self._credentials_topic = EndpointTopic(topics.credentials, server=server)
        self._command_topics = (
            EndpointTopic(topics.held_command, server=server),
            EndpointTopic(topics.command),
        )
        self._holder_topic = EndpointTopic(topics.holder, server=server)
        self._event_topics: dict[str, EndpointTopic] = {}

    # ---- what the shell asks ----

    @property
    def subscriptions(self) -> list[str]:
        """The topic filters that this bridge reads."""
        topics = (self._credentials_topic, *self._command_topics, self._holder_topic)
        return [topic.filter for topic in topics]

    def load(self, events_per_s: float = 0.0, commands_per_s: float = 0.0) -> BridgeLoad:
        """What it carries now; the rates are the caller's."""
        return BridgeLoad(
            devices_held=len(self.registry),
            devices_superseded=self.registry.superseded,
            events_per_s=events_per_s,
            commands_per_s=commands_per_s,
            queue_depth=sum(map(len, self._lanes)),
            events_unacknowledged=self._unacknowledged,
            credentials_under_way=self._desk.running,
            credentials_waiting=self._desk.waiting,
            messages_waiting=len(self._waiting),
        )

    @property
    def is_full(self) -> bool:
        """Whether reading from the server must stop."""
        return self._unacknowledged >= self._limits.events_unacknowledged_max

    @property
    def has_room_again(self) -> bool:
        """Whether reading may go on after `is_full`."""
        limits = self._limits
        return self._unacknowledged <= limits.events_unacknowledged_max * limits.resume_ratio

    @property
    def _unacknowledged(self) -> int:
        return self._progress.outstanding + self._told_unacknowledged

    def frames_to_send(self) -> list[bytes]:
        """Frames for the server, with at most one acknowledgement, at the end."""
        frames = list(self._frames)
        self._frames.clear()
        if self._ack_due and self._epoch is not None and self._progress.contiguous is not None:
            frames.append(encode(Ack(epoch=self._epoch, seq=self._progress.contiguous)))
        self._ack_due = False
        return frames

    def publications_to_send(self, room: int, now_us: int, lane: int = 0) -> list[Publication]:
        """At most `room` messages for one of the MQTT connections, in order."""
        waiting = self._lanes[lane]
        return [self._encoded(waiting.popleft(), now_us) for _ in range(min(room, len(waiting)))]

    def complaints_to_log(self) -> list[str]:
        """Which frames of ours the server refused, and why, in its words; the newest few."""
        complaints = list(self._complaints)
        self._complaints.clear()
        return complaints

    def messages_to_acknowledge(self) -> list[Hashable]:
        """The handles of MQTT messages that have been dealt with."""
        handled, self._handled = self._handled, []
        return handled

    def next_timer(self) -> int | None:
        """When `handle_timer` is due, None when nothing waits."""
        return self._desk.next_deadline_us()

    def handle_timer(self, now_us: int) -> None:
        """Give up procedures whose command got no outcome in time."""
        self._desk.give_up_overdue(now_us)
        self._frames.extend(self._desk.begin_waiting(now_us))

    # ---- the server's side ----

    def server_connected(self) -> None:
        """A connection is open: ask for what comes after the last event received."""
        self._move(Happening.CONNECTED)
        after = self._progress.received
        known = self._epoch if after is not None else None
        self._frames.clear()
        self._frames.append(encode(Resume(epoch=known, after=after or 0)))

    def server_disconnected(self) -> None:
        """The connection is gone. Frames not sent are: commands are asked for again by id."""
        self._move(Happening.DISCONNECTED)
        self._ack_due = False
        self._frames.clear()
        self._staged.clear()

    def receive_frame(self, data: bytes, now_us: int) -> None:
        """Take one frame of the server. Raises `PeerError` when the connection must end."""
        frame = self._read(data)
        if frame is None:
            return
        match frame.type:
            case "event":  # what nearly all of them are
                self._receive_event(frame, data, now_us)
            case "result":
                self._receive_stored_result(frame, now_us)
            case "snapshot":
                self._receive_snapshot(frame, now_us)
            case "hello":
                self._receive_hello(frame, now_us)
            case "error":
                self._receive_error(frame)
            case _:
                self.counts["frames_of_unknown_type"] += 1

    def publication_acknowledged(self, token: Token) -> None:
        """The broker has a message: its PUBACK came."""
        self.counts["publishes_acknowledged"] += 1
        if token.seq is None:
            self._told_unacknowledged -= 1
        elif token.epoch == self._epoch:
            self._finish(token.seq)

    def _read(self, data: bytes) -> ServerFrameHead | None:
        try:
            return read_frame(data)
        except UnsupportedVersion as error:
            raise PeerError(str(error)) from None
        except ContractError as error:
            self._pass_over(data, error)
            return None

    def _pass_over(self, data: bytes, error: ContractError) -> None:
        # An event that cannot be read would stop all after it for ever: it is counted and done.
        self.counts["frames_malformed"] += 1
        try:
            seq = read_event_number(data)
        except ContractError:
            raise PeerError(str(error)) from None
        if self._accept_seq(seq):
            self._finish(seq)

    def _receive_hello(self, frame: ServerFrameHead, now_us: int) -> None:
        if frame.server != self.server:
            raise PeerError(f"this is server {frame.server[:40]!r}, not {self.server!r}")
        if frame.epoch == self._epoch and self._progress.received is not None:
            self._move(Happening.HELLO_KNOWN)
            # The server may have missed the last acknowledgement, and these commands.
            self._ack_due = True
            self._go_live(now_us)
        else:
            self._move(Happening.HELLO_NEW)

    def _receive_snapshot(self, frame: ServerFrameHead, now_us: int) -> None:
        self._move(Happening.SNAPSHOT_ENDED if frame.last else Happening.SNAPSHOT_PART)
        for raw in frame.registrations:
            self._stage(raw)
        if frame.last:
            self._take_snapshot(frame)
            self._go_live(now_us)

    def _stage(self, raw: msgspec.Raw) -> None:
        try:
            head = read_registration(raw)
        except ContractError:
            self.counts["registrations_malformed"] += 1
            return
        if is_endpoint_name(head.endpoint):
            self._staged[head.endpoint] = (head, raw)
        else:
            self.counts["endpoints_illegal"] += 1

    def _take_snapshot(self, frame: ServerFrameHead) -> None:
        self.counts["snapshots"] += 1
        self._epoch, self._as_of = frame.epoch, frame.as_of
        self._progress.restart()
        self.registry.clear()
        for endpoint, (head, raw) in self._staged.items():
            self.registry.put(head)
            self._told_unacknowledged += 1
            self._lane_of(endpoint).append(
                SnapshotEntry(frame.epoch, frame.as_of, raw, head.registration_id, endpoint)
            )
        self._staged = {}
        self._desk.drop_ended()

    def _go_live(self, now_us: int) -> None:
        self._frames.extend(self._desk.pending_frames(now_us))
        self._frames.extend(self._desk.begin_waiting(now_us))
        waiting, self._waiting = self._waiting, deque()
        for topic, payload, handle in waiting:
            self._handle_message(topic, payload, handle, now_us)

    def _receive_event(self, frame: ServerFrameHead, data: bytes, now_us: int) -> None:
        if not self._accept_seq(frame.seq):
            return
        if not self._is_ours(frame):
            self._finish(frame.seq)
            return
        self._apply(frame, now_us)
        outcome = frame.result
        if outcome is not None and outcome.id.startswith(ID_PREFIX):
            self._finish(frame.seq)
            self._continue_procedure(frame.endpoint, outcome, is_stored=False, now_us=now_us)
            return
        topic = self._event_topic(frame.endpoint, frame.kind)
        self._lane_of(frame.endpoint).append(
            Publication(topic, data, Token(frame.epoch, frame.seq))
        )

    def _accept_seq(self, seq: int) -> bool:
        # While live the table leaves it there, and nearly all events come then.
        if self.link is not Link.LIVE:
            self._move(Happening.EVENT)
        if self._progress.receive(seq):
            self.counts["events"] += 1
            return True
        if self._progress.is_repeated(seq):
            self.counts["events_repeated"] += 1
            self._ack_due = True
            return False
        # Something is missing: only a snapshot can tell what this server holds.
        expected = (self._progress.received or 0) + 1
        self._progress.restart()
        self.counts["gaps"] += 1
        raise PeerError(f"event {seq} came where {expected} was expected")

    def _is_ours(self, frame: ServerFrameHead) -> bool:
        if frame.server != self.server or frame.epoch != self._epoch:
            self.counts["events_of_another_server"] += 1
        # Whose name is in the registry, and which kind has a topic, was found legal before.
        elif frame.endpoint not in self.registry and not is_endpoint_name(frame.endpoint):
            self.counts["endpoints_illegal"] += 1
        elif frame.kind not in self._event_topics and not frame.kind.isidentifier():
            self.counts["kinds_illegal"] += 1
        else:
            return True
        return False

    def _apply(self, frame: ServerFrameHead, now_us: int) -> None:
        """Keep the registry: events up to `as_of` are in the snapshot already."""
        if frame.seq <= self._as_of:
            return
        registration = frame.registration
        if registration is not None and frame.kind in ("registered", "updated"):
            if registration.endpoint == frame.endpoint:
                self.registry.put(registration)
        elif frame.kind == "deregistered":
            self.registry.remove(frame.endpoint, frame.registration_id)
        else:
            return
        if self._desk.drop_if_ended(frame.endpoint):
            self._frames.extend(self._desk.begin_waiting(now_us))

    def _receive_stored_result(self, frame: ServerFrameHead, now_us: int) -> None:
        outcome = frame.result
        if outcome is None or frame.server != self.server or not is_endpoint_name(frame.endpoint):
            self.counts["results_malformed"] += 1
        elif outcome.id.startswith(ID_PREFIX):
            self._continue_procedure(frame.endpoint, outcome, is_stored=True, now_us=now_us)
        else:
            self.counts["results_repeated"] += 1
            self._tell("result", frame.endpoint, now_us, result=outcome)

    def _continue_procedure(
        self, endpoint: str, outcome: Outcome, *, is_stored: bool, now_us: int
    ) -> None:
        self._frames.extend(
            self._desk.handle_outcome(endpoint, outcome, is_stored=is_stored, now_us=now_us)
        )
        completed = self._desk.completed_from_store()
        if completed is not None:
            # The server told of this completion once and will not again; who asked may have
            # lost its memory since.
            self._tell("bootstrap", endpoint, now_us, completed=completed)

    def _tell(
        self, kind: Literal["result", "bootstrap"], endpoint: str, now_us: int, *,
        result: Outcome | None = None, completed: Completes | None = None,
    ) -> None:  # fmt: skip
        """Publish what the server has not logged as an event of its own: marked as a snapshot."""
        held = self.registry.get(endpoint)
        event = Event(
            server=self.server,
            epoch=self._epoch or "",
            seq=self._progress.received or max(self._as_of, 0),
            kind=kind,
            endpoint=endpoint,
            at_us=now_us,
            registration_id=held.registration_id if held else None,
            result=result,
            completed=completed,
            snapshot=True,
        )
        topic = self._event_topic(endpoint, kind)
        self._told_unacknowledged += 1
        self._lane_of(endpoint).append(Publication(topic, encode(event), Token(event.epoch, None)))

    def _receive_error(self, frame: ServerFrameHead) -> None:
        if frame.fatal:
            raise PeerError(f"the server gave the connection up: {frame.detail[:200]}")
        self.counts["frames_refused"] += 1
        if frame.id is not None and frame.id.startswith(ID_PREFIX):
            # The text might repeat a part of the command, which holds a key.
            self._complaints.append(f"{frame.id}: writing credentials")
            self._desk.handle_refusal(frame.id)
        else:
            self._complaints.append(f"{frame.id or 'a frame'}: {frame.detail[:200]}")

    def _finish(self, seq: int) -> None:
        self._ack_due |= self._progress.finish(seq)

    def _move(self, happening: Happening) -> None:
        self.link = follow(self.link, happening)

    def _encoded(self, item: Publication | SnapshotEntry, now_us: int) -> Publication:
        if isinstance(item, Publication):
            return item
        return item.encoded(self.server, self._event_topic(item.endpoint, "registered"), now_us)

    def _event_topic(self, endpoint: str, kind: str) -> str:
        topic = self._event_topics.get(kind)
        if topic is None:
            if len(self._event_topics) >= _KINDS_MAX:
                self._event_topics.clear()
            topic = EndpointTopic(self._topics.event, server=self.server, kind=kind)
            self._event_topics[kind] = topic
        return topic.of(endpoint)

    def _lane_of(self, endpoint: str) -> deque[Publication | SnapshotEntry]:
        lanes = self._lanes
        # A checksum and not `hash`, which is another one in each process.
        return lanes[0] if len(lanes) == 1 else lanes[crc32(endpoint.encode()) % len(lanes)]

    # ---- the MQTT side ----

    def receive_message(self, topic: str, payload: bytes, handle: Hashable, now_us: int) -> None:
        """Take one MQTT message; its handle comes back when it has been dealt with.

        What comes while the server is away or its snapshot incomplete waits, within bounds.
        """
        if self.link is Link.LIVE:
            self._handle_message(topic, payload, handle, now_us)
        elif len(self._waiting) < self._limits.messages_waiting_max:
            self._waiting.append((topic, payload, handle))
        else:
            self.counts["messages_dropped_while_offline"] += 1
            self._handled.append(handle)

    def _handle_message(self, topic: str, payload: bytes, handle: Hashable, now_us: int) -> None:
        self._handled.append(handle)
        endpoint = self._credentials_topic.read(topic)
        if endpoint is not None:
            self._frames.extend(self._desk.begin(endpoint, payload, now_us))
            return
        for command_topic in self._command_topics:
            endpoint = command_topic.read(topic)
            if endpoint is not None:
                if self._gate.passes(endpoint, payload):
                    self._frames.append(payload)
                return
        endpoint = self._holder_topic.read(topic)
        if endpoint is None:
            self.counts["messages_on_other_topics"] += 1
        elif self._gate.supersede(endpoint, payload) and self._desk.drop_if_ended(endpoint):
            self._frames.extend(self._desk.begin_waiting(now_us))
