"""A device and its servers in virtual time, and a record of every datagram between them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from contracts.data_interface import Command, Operation
from fake_devices import kit
from fake_devices.device import EndExchange, Notify, SendRequest, ServerAccount
from fake_devices.device.moment import Moment
from fake_devices.fleet.config import FleetConfig
from harness.bootstrap_server.core import BootstrapCore
from harness.bootstrap_server.entries import BootstrapEntry, plan_of
from harness.device_contract.credentials import ENDPOINT
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.recovery import ServerState
from harness.lwm2m_server.secret_resources import is_secret
from harness.testing import HandMovedClock, seeded_draw
from lwm2m.bootstrap import BootstrapPlan
from lwm2m.coap import (
    CoapEndpoint,
    ExchangeFailed,
    RequestReceived,
    ResponseReceived,
    TransmissionParameters,
)
from lwm2m.objects import ModelRegistry, builtin_models
from lwm2m.transport.tracing import MessageReader

Address = tuple[str, int]
DEVICE: Final[Address] = ("192.0.2.17", 5683)
SERVER: Final[Address] = ("192.0.2.1", 5683)
BOOTSTRAP: Final[Address] = ("192.0.2.2", 5683)
SERVER_URI: Final = "coap://192.0.2.1:5683"
BOOTSTRAP_URI: Final = "coap://192.0.2.2:5683"
_ADDRESSES: Final = {SERVER_URI: SERVER, BOOTSTRAP_URI: BOOTSTRAP}
_URIS: Final = {address: uri for uri, address in _ADDRESSES.items()}
_NAMES: Final = {DEVICE: "device", SERVER: "server", BOOTSTRAP: "bootstrap_server"}
_DELAY_S: Final = 0.02
# Between two of a server's requests: no multiple of it is one of the periods that play a part.
_PAUSE_S: Final = 0.7
_NEVER: Final = 1e12


class Step(msgspec.Struct, frozen=True):
    """One datagram of an exchange: who sent it and when, its bytes, and what it means."""

    sender: str
    at_s: float
    data: bytes
    meaning: tuple[str, ...]


class DeviceSide:
    """The device: its core, and the CoAP endpoint that speaks for it."""

    def __init__(self, clock: HandMovedClock, seed: int, settings: dict[str, Any]) -> None:
        self._clock = clock
        self.coap = CoapEndpoint(TransmissionParameters(), seeded_draw(seed))
        declared = _declared()
        config = msgspec.structs.replace(declared.config, **settings)
        self.core = declared.make_core(
            config, accounts_of(config), clock, random.Random(seed).random
        )
        self._sent: dict[int, SendRequest] = {}

    @property
    def now(self) -> float:
        """Seconds of the clock."""
        return self._clock.now_s

    def moment(self) -> Moment:
        """Now, on both clocks."""
        return Moment(self._clock.now_ns(), self._clock.wall_us())

    def start(self) -> None:
        """The device is switched on."""
        self.core.start(self._clock.now_ns(), self.moment())
        self.carry_out()

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram arrives, if the device listens."""
        if self.core.is_listening:
            self.coap.receive_datagram(data, source, self.now)
            self.settle()

    def settle(self) -> None:
        """Take what CoAP tells."""
        while events := self.coap.events():
            for event in events:
                if isinstance(event, RequestReceived):
                    account = self.core.account_at(_URIS[event.peer])  # type: ignore[index]  # peers are addresses
                    response = self.core.serve(
                        event.request, event.exchange, event.message_id, account, self.moment()
                    )
                    self.coap.respond(event.exchange, response, self.now)
                elif isinstance(event, ResponseReceived):
                    sent = self._sent.pop(event.exchange)
                    self.core.response_received(sent, event.response, self.moment())
                elif isinstance(event, ExchangeFailed):
                    self._failed(event.exchange)
                self.carry_out()

    def fire(self) -> None:
        """Do what is due."""
        due = self.coap.next_timer()
        if due is not None and due <= self.now:
            self.coap.handle_timer(self.now)
            self.settle()
        due = self.core.next_timer()
        if due is not None and due <= self.now:
            self.core.handle_timer(self.moment())
            self.carry_out()

    def times(self) -> Iterator[float | None]:
        """When something is due."""
        yield self.coap.next_timer()
        yield self.core.next_timer()

    def carry_out(self) -> None:
        """Do what the device wants done; it has no MQTT here."""
        for action in self.core.take_actions():
            if isinstance(action, SendRequest):
                peer = _ADDRESSES[action.account.uri]
                exchange = self.coap.send_request(peer, action.request, self.now)
                self._sent[exchange] = action
            elif isinstance(action, Notify):
                self.coap.notify(
                    action.exchange, action.response, self.now, confirmable=action.confirmable
                )
            elif isinstance(action, EndExchange):
                self.coap.cancel(action.exchange, self.now)

    def _failed(self, exchange: int) -> None:
        sent = self._sent.pop(exchange, None)
        if sent is None:
            self.core.observation_ended(exchange, self.moment())
        else:
            self.core.exchange_failed(sent, self.moment())


class _OnePlan:
    def __init__(self, entry: BootstrapEntry) -> None:
        self._found = entry, plan_of(entry, builtin_models())

    def find(self, endpoint: str) -> tuple[BootstrapEntry, BootstrapPlan] | None:
        return self._found if endpoint == ENDPOINT else None


class Site:
    """A device, the LwM2M server and, with `entry`, a bootstrap server; all from one seed."""

    def __init__(self, seed: int, *, entry: BootstrapEntry | None = None, **settings: Any) -> None:
        self.clock = HandMovedClock()
        self._began_s = self.clock.now_s
        self._seed = seed
        where = {"bootstrap_server": BOOTSTRAP_URI} if entry else {"server": SERVER_URI}
        self.device = DeviceSide(self.clock, seed, where | {"connects": False} | settings)
        self.steps: list[Step] = []
        self._bootstrap = None if entry is None else self._bootstrap_server(entry)
        self._incarnations = itertools.count(1)
        self._commands = itertools.count(1)
        self._under_way: list[tuple[float, int, bytes, Address, Address]] = []
        self._order = itertools.count()
        self._reader = MessageReader(builtin_models(), lambda path: is_secret(str(path)))
        self.restart_server()

    # ---- what exchanges are made of ----

    def restart_server(self) -> None:
        """The server comes back and remembers nobody."""
        self.server = ServerCore(
            "server-1",
            ServerState("epoch"),
            clock=self.clock,
            draw=seeded_draw(self._seed * 1_000 + next(self._incarnations)),
            models_for=ModelRegistry().models_for,
        )

    def start(self) -> None:
        """Switch the device on and let it register or bootstrap."""
        self.device.start()
        self.run(_PAUSE_S)

    def command(self, operation: Operation, path: str | None = None, **fields: Any) -> None:
        """Have the server do one thing, and let a moment go by."""
        self.server.operate(
            Command(
                id=f"command-{next(self._commands)}",
                endpoint=ENDPOINT,
                operation=operation,
                path=path,
                expires_at_us=self.clock.wall_us() + 600_000_000,
                **fields,
            )
        )
        self.run(_PAUSE_S)

    def inject(self, data: bytes) -> None:
        """Send bytes to the device from the server's address, and let a moment go by."""
        self._carry(data, SERVER, DEVICE)
        self.run(_PAUSE_S)

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        until = self.clock.now_s + seconds
        self._collect()
        while (due := self._next_time()) <= until:
            self.clock.advance(max(0.0, due - self.clock.now_s))
            self._deliver()
            self._fire()
            self._collect()
        self.clock.advance(max(0.0, until - self.clock.now_s))

    # ---- inside ----

    def _bootstrap_server(self, entry: BootstrapEntry) -> BootstrapCore:
        return BootstrapCore(
            "bootstrap-1",
            _OnePlan(entry),
            clock=self.clock,
            draw=seeded_draw(self._seed * 1_000 + 500),
            models=builtin_models(),
        )

    def _collect(self) -> None:
        now = self.clock.now_s
        self.server.take_records()
        self.server.take_observed()
        for data, _ in self.server.take_datagrams():
            self._carry(data, SERVER, DEVICE)
        if self._bootstrap is not None:
            self._bootstrap.take_observed()
            for data, _ in self._bootstrap.take_datagrams():
                self._carry(data, BOOTSTRAP, DEVICE)
        for data, peer in self.device.coap.datagrams_to_send():
            assert isinstance(peer, tuple)
            self._carry(data, DEVICE, peer)
        assert now == self.clock.now_s

    def _carry(self, data: bytes, source: Address, target: Address) -> None:
        other = target if source == DEVICE else source
        told = self._reader.read(data, other, sent=source == DEVICE)
        at_s = round(self.clock.now_s - self._began_s, 3)
        self.steps.append(Step(_NAMES[source], at_s, data, (told.headline, *told.content)))
        arrival = self.clock.now_s + _DELAY_S
        heapq.heappush(self._under_way, (arrival, next(self._order), data, source, target))

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= self.clock.now_s:
            _, _, data, source, target = heapq.heappop(self._under_way)
            if target == DEVICE:
                self.device.receive(data, source)
            elif target == SERVER:
                self.server.receive_datagrams([(data, source)])
            elif self._bootstrap is not None:
                self._bootstrap.receive_datagrams([(data, source)])

    def _fire(self) -> None:
        self.device.fire()
        for core in self._cores():
            due = core.next_timer()
            if due is not None and due <= self.clock.now_s:
                core.handle_timer()

    def _cores(self) -> Iterator[ServerCore | BootstrapCore]:
        yield self.server
        if self._bootstrap is not None:
            yield self._bootstrap

    def _next_time(self) -> float:
        times = [*self.device.times(), *(core.next_timer() for core in self._cores())]
        if self._under_way:
            times.append(self._under_way[0][0])
        soonest = min((due for due in times if due is not None), default=_NEVER)
        # Virtual time moves in steps that the clock can tell apart.
        return max(self.clock.now_s + 1e-6, soonest)


def accounts_of(config: FleetConfig) -> Sequence[ServerAccount]:
    """What the factory writes: the datagrams of the vectors are those within DTLS."""
    if config.bootstrap_server:
        return [ServerAccount(None, BOOTSTRAP_URI)]
    return [ServerAccount(101, SERVER_URI)]


def _declared() -> kit.Device:
    """The device of the vectors: a thermometer and a light, with values that do not change."""
    device = kit.Device(ENDPOINT)
    device.add("/3303/0", {5700: 21.5, 5701: "Cel", 5750: "room 17"}, reports=[5700])
    device.add("/3311/0", {5850: False, 5851: 50})
    device.bind("/3/0/1", "AM-40")
    device.on_execute("/3303/0/5605")(_nothing)
    return device


def _nothing(arguments: object) -> None:
    return None


NewSite = Callable[[], Site]
