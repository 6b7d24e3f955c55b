"""A device and a server on a simulated network, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from contracts.journal import Record
from fake_devices.device import (
    DEFAULT_ACCOUNT,
    Device,
    DeviceSettings,
    EndExchange,
    Environment,
    IncidentPlan,
    ModelTemplate,
    Moment,
    OpenUplink,
    PublishPack,
    SendRequest,
    device_models,
    make_template,
)
from fake_devices.device.actions import Notify as DeviceNotify
from fake_devices.devices import MODELS, DeviceIdentity
from lwm2m.coap import (
    CoapEndpoint,
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    Value,
)
from lwm2m.transport.simulated import GOOD_NETWORK, NetworkConditions, SimulatedNetwork
from tests.fake_devices.device.managed import Managed, make_ets_device

# 2026-11-20 21:00 UTC: night at the device's position, so that a street lamp is on.
BEGAN_US = 1_795_208_400_000_000
STEP_S = 0.05
DEVICE, SERVER = "device", "server"
_R = TypeVar("_R")


class Rig:
    """One device with its server; `now` is virtual seconds."""

    def __init__(
        self,
        models: Models,
        settings: DeviceSettings,
        model: str,
        conditions: NetworkConditions,
        seed: int,
        incidents: tuple[IncidentPlan, ...],
        own_key: bytes = b"",
    ) -> None:
        self.models = models
        self.records: list[Record] = []
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.answers: Callable[[Request], Response | None] = self.accept
        self.opened: list[OpenUplink] = []
        self.closed = 0
        self.published: list[PublishPack] = []
        self.network = SimulatedNetwork(seed, conditions)
        boots = iter(range(1, 1000))
        environment = Environment(
            settings, self.records.append, lambda: 0.5, lambda: f"boot-{next(boots)}"
        )
        identity = DeviceIdentity("lamp-7", "SN-7", model, 52.1, 4.3, 7)
        self.device = Device(
            environment,
            self._template(model, settings),
            identity,
            MODELS[model],
            city_s=BEGAN_US / 1e6,
            phase=0.25,
            address="127.16.1.1",
            incidents=incidents,
            own_key=own_key,
        )
        draw = random.Random(seed).randbytes
        self._device_side = CoapEndpoint(TransmissionParameters(), draw)
        self._server_side = CoapEndpoint(TransmissionParameters(), draw)
        self.network.attach(DEVICE, self._device_side, self._device_events)
        self.network.attach(SERVER, self._server_side, self._server_events)
        self._sent: dict[int, SendRequest] = {}
        self.patience_s = 1.0

    def _template(self, model: str, settings: DeviceSettings) -> ModelTemplate:
        first = DeviceIdentity("lamp-1", "SN-1", model, 52.0, 4.2, 7)
        return make_template(MODELS[model], first, BEGAN_US / 1e6, settings.lifetime_s, self.models)

    # ---- time ----

    @property
    def now(self) -> float:
        return self.network.now

    def moment(self) -> Moment:
        return Moment(round(self.now * 1e9), BEGAN_US + round(self.now * 1e6))

    def run(self, seconds: float) -> None:
        """Let `seconds` pass for the network and the device."""
        until = self.now + seconds
        while self.now < until - STEP_S / 2:
            self.network.run(until=self.now + STEP_S)
            due = self.device.next_timer()
            if due is not None and due <= self.now:
                self.device.handle_timer(self.moment())
                self.carry_out()

    # ---- the story ----

    def start(self) -> None:
        """Switch the device on and let it register."""
        self.device.start(0, self.moment())
        self.carry_out()
        self.run(1)

    def ask(
        self,
        code: int,
        path: str,
        values: Sequence[tuple[str, Value]] = (),
        *,
        content_format: int = content_formats.SENML_CBOR,
        accept: int | None = None,
    ) -> Response:
        """The device's answer to a request of the server, over the network."""
        base = ObjectPath.parse(path)
        nodes = [Node(ObjectPath.parse(each), value) for each, value in values]
        payload = encode_payload(content_format, base, nodes, self.models) if nodes else b""
        return self.send(
            Request(
                code,
                base.segments,
                content_format=content_format if nodes else None,
                accept=accept,
                payload=payload,
            )
        )

    def send(self, request: Request) -> Response:
        """The device's answer to any request; a second, or `patience_s`, goes by."""
        before = len(self.responses)
        self._server_side.send_request(DEVICE, request, self.now)
        self.run(self.patience_s)
        assert len(self.responses) == before + 1, "the device did not answer in time"
        return self.responses[-1]

    def write_broker(
        self,
        code: int = codes.POST,
        *,
        certificate: bytes = b"certificate",
        client_id: str = "lamp-7",
        uri: str = "mqtts://127.0.0.1:8883",
        secret_key: bytes | None = b"private key",
    ) -> Response:
        """Create (or, with PUT, replace) `/18830/0`."""
        rows: list[tuple[int, Value]] = [
            (0, uri),
            (1, client_id),
            (2, True),
            (3, 60),
            (6, 2),
            (7, certificate),
            (8, b"authority"),
            *([] if secret_key is None else [(9, secret_key)]),
            (10, 2),
        ]
        target = "/18830" if code == codes.POST else "/18830/0"
        return self.ask(code, target, [(f"/18830/0/{n}", value) for n, value in rows])

    def write_publication(
        self,
        number: int,
        topic: str,
        code: int = codes.POST,
        *,
        source: str = "</3416/0>,</3418/0>",
        active: bool = False,
        encoding: int = 112,
    ) -> Response:
        """Create (or, with PUT, replace) `/18831/<number>`."""
        rows: list[tuple[int, Value]] = [
            (0, source),
            (1, ObjectLink(18830, 0)),
            (2, topic),
            (3, 1),
            (4, False),
            (5, active),
            (6, encoding),
        ]
        target = "/18831" if code == codes.POST else f"/18831/{number}"
        return self.ask(code, target, [(f"/18831/{number}/{n}", value) for n, value in rows])

    def activate(self, number: int, active: bool = True) -> Response:
        """Write /18831/<number>/5."""
        path = f"/18831/{number}/5"
        return self.ask(codes.PUT, path, [(path, active)])

    def bootstrap(self) -> None:
        """Register, and get credentials and both publications, active."""
        self.start()
        self.write_broker()
        self.write_publication(0, "devices/lamp-7/state")
        self.write_publication(1, "devices/lamp-7/alarm")
        self.activate(0)
        self.activate(1)

    def connect(self) -> None:
        """The broker accepts the connection that the device asked for."""
        self.device.uplink_connected(self.moment())
        self.carry_out()

    def lose_connection(self, reason: str = "lost") -> None:
        self.device.uplink_lost(reason, self.moment())
        self.carry_out()

    def connect_again(self) -> None:
        """Wait until the device tries again, and accept it."""
        opened = len(self.opened)
        while len(self.opened) == opened:
            self.run(STEP_S)
        self.connect()

    def acknowledge_all(self) -> None:
        """PUBACKs for everything, also for what the device sends in answer to them."""
        for position in range(10_000):
            if position >= len(self.published):
                return
            self.acknowledge(self.published[position])

    def acknowledge(self, pack: PublishPack) -> None:
        """The broker's PUBACK for a pack arrives."""
        self.device.pack_acknowledged(pack.pack.boot, pack.pack.sequence, self.moment())
        self.carry_out()

    def recorded(self, kind: type[_R]) -> list[_R]:
        """The records of one kind, in order."""
        return [record for record in self.records if isinstance(record, kind)]

    # ---- inside ----

    def accept(self, request: Request) -> Response | None:
        """A server that accepts everything."""
        code = codes.CREATED if request.path == ("rd",) else codes.CHANGED
        location = ("rd", "1") if request.path == ("rd",) else ()
        return Response(code, location_path=location)

    def carry_out(self) -> None:
        for action in self.device.take_actions():
            if isinstance(action, SendRequest):
                exchange = self._device_side.send_request(SERVER, action.request, self.now)
                self._sent[exchange] = action
            elif isinstance(action, DeviceNotify):
                self._device_side.notify(
                    action.exchange, action.response, self.now, confirmable=action.confirmable
                )
            elif isinstance(action, EndExchange):
                self._device_side.cancel(action.exchange, self.now)
            elif isinstance(action, OpenUplink):
                self.opened.append(action)
            elif isinstance(action, PublishPack):
                self.published.append(action)
            else:
                self.closed += 1

    def _device_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                answer = self.device.serve(
                    event.request, event.exchange, event.message_id, DEFAULT_ACCOUNT, self.moment()
                )
                self._device_side.respond(event.exchange, answer, self.now)
            elif isinstance(event, ResponseReceived):
                self.device.response_received(
                    self._sent.pop(event.exchange), event.response, self.moment()
                )
            elif isinstance(event, ExchangeFailed):
                sent = self._sent.pop(event.exchange, None)
                if sent is None:
                    self.device.observation_ended(event.exchange, self.moment())
                else:
                    self.device.exchange_failed(sent, self.moment())
            self.carry_out()

    def _server_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                answer = self.answers(event.request)
                if answer is not None:
                    self._server_side.respond(event.exchange, answer, self.now)
            elif isinstance(event, ResponseReceived):
                self.responses.append(event.response)


@pytest.fixture(scope="session")
def models() -> Models:
    """The object definitions that devices implement."""
    return device_models()


@pytest.fixture
def make_rig(models: Models) -> Callable[..., Rig]:
    """Makes rigs; settings by name."""

    def make(
        *,
        model: str = "street_lamp",
        conditions: NetworkConditions = GOOD_NETWORK,
        seed: int = 1,
        incidents: tuple[IncidentPlan, ...] = (),
        own_key: bytes = b"",
        **settings: Any,
    ) -> Rig:
        return Rig(models, DeviceSettings(**settings), model, conditions, seed, incidents, own_key)

    return make


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A street lamp on a good network."""
    return make_rig()


@pytest.fixture
def make_managed(models: Models) -> Callable[..., Managed]:
    """Makes devices in the start configuration of the ETS; more values by `values`."""

    def make(
        version: str = "1.1",
        values: dict[str, Value] | None = None,
        creatable: Sequence[int] = (16, 18830, 18831),
    ) -> Managed:
        return make_ets_device(models, version, values or {}, creatable)

    return make


@pytest.fixture
def managed(make_managed: Callable[..., Managed]) -> Managed:
    """A device of LwM2M 1.1 in the start configuration of the ETS."""
    return make_managed()


@pytest.fixture
def managed12(make_managed: Callable[..., Managed]) -> Managed:
    """The same of LwM2M 1.2."""
    return make_managed("1.2")
