"""The observations of one server: kept in the log, asked for again after a restart, told as events.

An observation's tokens are of one address or session. After a restart, or when a device comes with
a new session, the server asks again with a new token, with the first message of that observation
as its confirmation; a notification with the old token gets a Reset, upon which the device forgets
it. What the observation is called does not change: its id is that of the command that began it.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto
from typing import Final

from contracts.data_interface import Command, ObservationEnd
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Device, Devices
from harness.lwm2m_server.endpoints import Endpoints
from harness.lwm2m_server.operations import InvalidCommand, request_of
from harness.lwm2m_server.payloads import Payloads
from harness.lwm2m_server.records import ObservationKept
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.wakefulness import Wakefulness
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import FailureReason, Response, codes
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectPath

# Requests of our own that may be out at once after a restart: a fleet must not answer as one.
ASKED_AT_ONCE_MAX: Final = 64


class ObservationState(Enum):
    """How far an observation has come. LOST: the device does not know where to notify."""

    LOST = auto()
    ASKED = auto()
    HELD = auto()
    ENDED = auto()


class ObservationEvent(Enum):
    """What moves an observation."""

    ASKED_AGAIN = auto()
    CONFIRMED = auto()
    UNANSWERED = auto()
    PEER_LEFT = auto()
    ENDED = auto()


_ENDS: Final = {ObservationEvent.ENDED: ObservationState.ENDED}
TRANSITIONS: Final[dict[ObservationState, dict[ObservationEvent, ObservationState]]] = {
    ObservationState.LOST: {
        ObservationEvent.ASKED_AGAIN: ObservationState.ASKED,
        ObservationEvent.PEER_LEFT: ObservationState.LOST,
        **_ENDS,
    },
    ObservationState.ASKED: {
        ObservationEvent.CONFIRMED: ObservationState.HELD,
        ObservationEvent.UNANSWERED: ObservationState.LOST,
        ObservationEvent.PEER_LEFT: ObservationState.LOST,
        **_ENDS,
    },
    ObservationState.HELD: {
        ObservationEvent.CONFIRMED: ObservationState.HELD,
        ObservationEvent.PEER_LEFT: ObservationState.LOST,
        **_ENDS,
    },
    ObservationState.ENDED: {},
}


class Observation:
    """One observation. `exchange` is -1 unless it is asked for or held.

    `dropped` are notifications that came since the last one that was told.
    """

    __slots__ = ("command", "dropped", "exchange", "state")

    def __init__(self, command: Command, state: ObservationState, exchange: int) -> None:
        self.command = command
        self.state = state
        self.exchange = exchange
        self.dropped = 0

    def move(self, event: ObservationEvent) -> None:
        """Follow the table."""
        self.state = TRANSITIONS[self.state][event]


class Allowance:
    """How many notifications of a device may still be told at once, as of a time in seconds."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = self._left = float(burst)
        self._at = now

    def takes_one(self, now: float) -> bool:
        """Whether one more may be told; it is then counted."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def key_of(command: Command) -> str:
    """What is observed, or no longer: the same for observe and its cancellation."""
    if command.operation == "observe_composite" or (
        command.operation == "cancel_observation" and command.paths
    ):
        return " ".join(["composite", *sorted(command.paths or ())])
    return command.path or ""


class Observations:
    """All observations, by device and by exchange."""

    def __init__(
        self,
        *,
        writer: TurnWriter,
        endpoints: Endpoints,
        payloads: Payloads,
        devices: Devices,
        wakefulness: Wakefulness,
        limits: ServerLimits,
    ) -> None:
        self._writer = writer
        self._endpoints = endpoints
        self._payloads = payloads
        self._devices = devices
        self._wakefulness = wakefulness
        self._limits = limits
        # By endpoint and by what is observed (`key_of`).
        self.of_device: dict[str, dict[str, Observation]] = {}
        self._by_exchange: dict[int, Observation] = {}
        self._count = 0
        # How many requests of our own are out, and whose turn is next after a restart.
        self._asked = 0
        # Endpoints, in the order in which they are to be asked.
        self._to_ask: OrderedDict[str, None] = OrderedDict()
        self.notifications_dropped = 0
        # By endpoint, of devices that notified.
        self._allowances: dict[str, Allowance] = {}

    def __len__(self) -> int:
        return self._count

    def all(self) -> list[Observation]:
        """All observations, by device in the order in which they began."""
        return [one for of_device in self.of_device.values() for one in of_device.values()]

    def find(self, command: Command) -> Observation | None:
        """The observation that an observe would replace, or a cancellation end."""
        return self.of_device.get(command.endpoint, {}).get(key_of(command))

    def owns(self, exchange: int) -> bool:
        """Whether what comes on this exchange is for `received` and `failed`."""
        return exchange in self._by_exchange

    def check_room(self, command: Command) -> None:
        """Raises `InvalidCommand` when one more observation is one too many."""
        of_device = self.of_device.get(command.endpoint, {})
        if key_of(command) in of_device:
            return
        limits = self._limits
        if len(of_device) >= limits.observations_per_device_max:
            raise InvalidCommand(f"{len(of_device)} observations of this device: end one")
        if self._count >= limits.observations_max:
            raise InvalidCommand(f"{self._count} observations in all: end one")

    # ---- beginning and ending ----

    def begin(self, command: Command, exchange: int) -> None:
        """A device confirmed the observation that `command` asked for on `exchange`."""
        before = self.find(command)
        if before is not None:
            self.end(before, "replaced")
        self._keep(Observation(command, ObservationState.HELD, exchange))
        self._writer.write(ObservationKept(command))

    def end(
        self,
        observation: Observation,
        ended: ObservationEnd,
        *,
        registration_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Forget an observation; a notification that still comes is answered by Reset."""
        self._release(observation, ObservationEvent.ENDED)
        command = observation.command
        of_device = self.of_device[command.endpoint]
        del of_device[key_of(command)]
        if not of_device:
            del self.of_device[command.endpoint]
            self._allowances.pop(command.endpoint, None)
        self._count -= 1
        self._writer.emit(
            "observation_ended",
            command.endpoint,
            registration_id=registration_id or self._registration_id(command.endpoint),
            path=command.path if not command.paths else None,
            paths=command.paths,
            observation_id=command.id,
            ended=ended,
            detail=detail,
            dropped=observation.dropped or None,
        )

    def give_up_exchange(self, observation: Observation, now: float) -> int | None:
        """Ask the device to end the observation: the new exchange (RFC 7641 §3.6).

        None when there is none to end. `end` is to follow. Raises `PeerQueueFull`: it goes on then.
        """
        if observation.state is not ObservationState.HELD:
            return None
        exchange = self._endpoints.end_observation(observation.exchange, now)
        self._forget_exchange(observation)
        return exchange

    def device_left(self, device: Device) -> None:
        """A registration ended, and with it its observations (LwM2M Core §6.4)."""
        for observation in list(self.of_device.get(device.endpoint, {}).values()):
            self.end(observation, "registration_ended", registration_id=device.registration_id)

    def peer_left(self, device: Device) -> None:
        """The device's address or session is gone, and with it the tokens of its observations."""
        for observation in self.of_device.get(device.endpoint, {}).values():
            self._release(observation, ObservationEvent.PEER_LEFT)

    # ---- what comes ----

    def received(self, exchange: int, response: Response) -> str:
        """A notification, the confirmation of an observation asked for again, or its end.

        Returns whose: the device has spoken.
        """
        observation = self._by_exchange[exchange]
        endpoint = observation.command.endpoint
        is_positive = codes.is_success(response.code)
        if is_positive:
            self._tell(observation, response)
        if is_positive and response.observe is not None:
            self._note_answer(observation)
            observation.move(ObservationEvent.CONFIRMED)
        else:
            # RFC 7641 §3.2 and §4.2: without the option, or with an error, it was the last.
            self._forget_exchange(observation)
            self.end(observation, "refused", detail=f"answered {codes.code_text(response.code)}")
        self._ask_next()
        return endpoint

    def failed(self, exchange: int, reason: FailureReason) -> None:
        """No answer to an observation asked for again, or a notification that broke CoAP."""
        observation = self._by_exchange[exchange]
        was_asked = observation.state is ObservationState.ASKED
        self._forget_exchange(observation)
        if was_asked and reason in ("timeout", "cancelled"):
            observation.move(ObservationEvent.UNANSWERED)
            device = self._devices.find(observation.command.endpoint)
            if device is not None:
                self._wakefulness.unanswered(device, self._writer.now())
        else:
            self.end(observation, "refused" if reason == "reset" else "malformed", detail=reason)
        self._ask_next()

    # ---- asking again ----

    def ask_again(self, endpoint: str) -> None:
        """The device may be reachable: have its lost observations back, one after the other."""
        of_device = self.of_device.get(endpoint)
        if of_device is None:
            return
        states = {one.state for one in of_device.values()}
        if ObservationState.LOST not in states or ObservationState.ASKED in states:
            return
        device = self._devices.find(endpoint)
        if device is None or not self._wakefulness.can_be_asked(device, self._writer.now()):
            return
        if self._asked >= ASKED_AT_ONCE_MAX:
            self._to_ask[endpoint] = None
            return
        for observation in list(of_device.values()):
            if observation.state is ObservationState.LOST and self._ask(observation, device):
                return

    def _ask(self, observation: Observation, device: Device) -> bool:
        """Send the request again; False when the observation ended, as it cannot be one."""
        now = self._writer.now()
        try:
            target = self._payloads.target(device)
            request = request_of(observation.command, target, self._payloads)
            exchange = self._endpoints.send_request(device.peer, request, now)
        except InvalidCommand as error:
            self.end(observation, "refused", detail=str(error))
            return False
        except (LwM2mError, ValueError):
            return True  # no room, or no connection just now: the device speaks again some time
        observation.move(ObservationEvent.ASKED_AGAIN)
        observation.exchange = exchange
        self._by_exchange[exchange] = observation
        self._asked += 1
        return True

    def _ask_next(self) -> None:
        while self._to_ask and self._asked < ASKED_AT_ONCE_MAX:
            endpoint = next(iter(self._to_ask))
            del self._to_ask[endpoint]
            self.ask_again(endpoint)

    def _note_answer(self, observation: Observation) -> None:
        if observation.state is ObservationState.ASKED:
            self._asked -= 1

    # ---- restart ----

    def restore(self, state: ServerState) -> None:
        """Take up the observations of an earlier incarnation; `start` asks for them again."""
        for endpoint, begun in state.observations.items():
            if self._devices.find(endpoint) is not None:
                for command in begun.values():
                    self._keep(Observation(command, ObservationState.LOST, -1))
                self._to_ask[endpoint] = None

    def start(self) -> None:
        """Ask for what was restored, some devices at a time; others once they speak."""
        self._ask_next()

    def checkpoint(self, state: ServerState) -> None:
        """Put the observations into the state that a compaction writes."""
        for endpoint, of_device in self.of_device.items():
            state.observations[endpoint] = {
                one.command.id: one.command for one in of_device.values()
            }

    # ---- inside ----

    def _keep(self, observation: Observation) -> None:
        command = observation.command
        self.of_device.setdefault(command.endpoint, {})[key_of(command)] = observation
        self._count += 1
        if observation.exchange >= 0:
            self._by_exchange[observation.exchange] = observation

    def _release(self, observation: Observation, event: ObservationEvent) -> None:
        exchange = observation.exchange
        if exchange >= 0:
            self._forget_exchange(observation)
            self._endpoints.cancel(exchange, self._writer.now())
        observation.move(event)

    def _forget_exchange(self, observation: Observation) -> None:
        self._note_answer(observation)
        self._by_exchange.pop(observation.exchange, None)
        observation.exchange = -1

    def _registration_id(self, endpoint: str) -> str | None:
        device = self._devices.find(endpoint)
        return None if device is None else device.registration_id

    def _tell(self, observation: Observation, response: Response) -> None:
        if not self._has_room(observation):
            self.notifications_dropped += 1
            observation.dropped += 1
            return
        command = observation.command
        device = self._devices.find(command.endpoint)
        target = self._payloads.target(device)
        values, detail = None, None
        try:
            base = None if command.paths else ObjectPath.parse(command.path or "")
            values = self._payloads.read(
                target, response.content_format, base, response.payload, self._writer.wall_s()
            )
        except LwM2mError as error:
            detail = f"cannot be read: {error}"
        self._writer.emit(
            "notification",
            command.endpoint,
            registration_id=self._registration_id(command.endpoint),
            path=None if command.paths else command.path,
            paths=command.paths,
            values=values,
            observation_id=command.id,
            sequence=response.observe,
            detail=detail,
            dropped=observation.dropped or None,
        )
        observation.dropped = 0

    def _has_room(self, observation: Observation) -> bool:
        """Whether a notification may be told: neither the log nor its device has too many."""
        log, limits = self._writer.events, self._limits
        if log.newest - log.oldest >= limits.notifications_kept_max:
            return False
        if limits.notifications_per_device_per_s <= 0:
            return True
        endpoint, now = observation.command.endpoint, self._writer.now()
        allowance = self._allowances.get(endpoint)
        if allowance is None:
            allowance = self._allowances[endpoint] = Allowance(
                limits.notifications_per_device_per_s, limits.notifications_per_device_burst, now
            )
        return allowance.takes_one(now)
