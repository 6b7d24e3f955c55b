"""Which devices can be asked just now: those that have an address and, in queue mode, listen."""

from __future__ import annotations

from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.registration.queue_mode import QueueModeChanged, QueueModeState, QueueModeTable


class Wakefulness:
    """The devices of one server that are in queue mode, by endpoint; told as events.

    `awake_s` is how long a device listens after it was heard (LwM2M Core §6.5).
    """

    def __init__(self, writer: TurnWriter, awake_s: float) -> None:
        self._writer = writer
        self._table = QueueModeTable(awake_s)
        self._awake_s = awake_s
        # By endpoint, of those in queue mode.
        self.registration_ids: dict[str, str] = {}

    def can_be_asked(self, device: Device, now: float) -> bool:
        """Whether a request can go out to the device now."""
        if device.peer is None:
            return False
        return not device.held.queue_mode or self._table.is_awake(device.endpoint, now)

    def is_asleep(self, endpoint: str) -> bool:
        """Whether the device is in queue mode and does not listen."""
        return self._table.state_of(endpoint) is QueueModeState.ASLEEP

    def heard_from(self, device: Device, now: float) -> None:
        """A message of the device came: it listens for a while."""
        endpoint = device.endpoint
        if device.held.queue_mode:
            if self._table.state_of(endpoint) is QueueModeState.ALWAYS_ON:
                self._enter(device, now)
            else:
                self._tell(self._table.heard_from(endpoint, now))
        elif endpoint in self.registration_ids:
            self.left(endpoint)  # an Update ended queue mode

    def unanswered(self, device: Device, now: float) -> None:
        """The device did not answer a request: it sleeps, if it is one that does."""
        if device.held.queue_mode:
            self._tell(self._table.unanswered(device.endpoint, now))

    def left(self, endpoint: str) -> None:
        """The registration ended."""
        if self.registration_ids.pop(endpoint, None) is not None:
            self._table.leave(endpoint)

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        return self._table.next_timer()

    def handle_timer(self, now: float) -> None:
        """Tell who fell asleep."""
        for changed in self._table.handle_timer(now):
            self._tell(changed)

    def restore(self, devices: list[Device], state: ServerState) -> None:
        """Go on as the earlier incarnation told: nobody hears of the same sleep twice."""
        now = self._writer.now()
        for device in devices:
            if device.held.queue_mode:
                self._enter(device, device.held.renewed_at)
                if device.endpoint in state.asleep:
                    self._table.unanswered(device.endpoint, now)

    def checkpoint(self, state: ServerState) -> None:
        """Put who sleeps into the state that a compaction writes."""
        state.asleep = {
            endpoint: True for endpoint in self.registration_ids if self.is_asleep(endpoint)
        }

    def _enter(self, device: Device, now: float) -> None:
        self.registration_ids[device.endpoint] = device.registration_id
        # That a device is awake which has just registered needs no telling.
        self._table.enter(device.endpoint, now)

    def _tell(self, changed: QueueModeChanged | None) -> None:
        if changed is None:
            return
        endpoint = str(changed.key)
        self._writer.emit(
            "awake" if changed.state is QueueModeState.AWAKE else "sleeping",
            endpoint,
            registration_id=self.registration_ids[endpoint],
        )
