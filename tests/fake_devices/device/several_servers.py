"""A device among several servers, a bootstrap server and a file server, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from contracts.journal import Record
from fake_devices.device import (
    Device,
    DeviceSettings,
    EndExchange,
    Environment,
    Moment,
    Notify,
    SendRequest,
    ServerAccount,
    device_models,
    make_template,
)
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
from lwm2m.objects import Models, ObjectPath, Value
from lwm2m.transport.simulated import SimulatedNetwork

BEGAN_US = 1_795_208_400_000_000
STEP_S = 0.05
DEVICE = "device"
ONE, TWO, BOOT = "coap://one.example", "coap://two.example", "coap://boot.example"
Answer = Callable[[Request], Response | None]
_R = TypeVar("_R")


def accept(request: Request) -> Response | None:
    """A server that accepts everything."""
    if request.path == ("rd",):
        return Response(codes.CREATED, location_path=("rd", "1"))
    return Response(codes.DELETED if request.code == codes.DELETE else codes.CHANGED)


class Server:
    """One server: what it was asked, what it is answered."""

    def __init__(self, world: World, uri: str) -> None:
        self._world = world
        self.uri = uri
        self.endpoint = CoapEndpoint(TransmissionParameters(), random.Random(uri).randbytes)
        self.answer: Answer = accept
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.failures = 0
        world.network.attach(uri, self.endpoint, self._handle)

    def ask(self, request: Request, within_s: float = 1.0) -> Response:
        """The device's answer to a request."""
        before = len(self.responses)
        self.endpoint.send_request(DEVICE, request, self._world.now)
        self._world.run(within_s)
        assert len(self.responses) > before, f"no answer to {request}"
        return self.responses[-1]

    def read(self, path: str) -> bytes:
        """One resource as text."""
        segments = ObjectPath.parse(path).segments
        return self.ask(Request(codes.GET, segments, accept=content_formats.TEXT)).payload

    def write(self, path: str, value: str) -> str:
        """The code of writing one resource as text."""
        request = Request(
            codes.PUT,
            ObjectPath.parse(path).segments,
            content_format=content_formats.TEXT,
            payload=value.encode(),
        )
        return codes.code_text(self.ask(request).code)

    def execute(self, path: str, arguments: str = "") -> str:
        """The code of executing one resource."""
        request = Request(codes.POST, ObjectPath.parse(path).segments, payload=arguments.encode())
        return codes.code_text(self.ask(request).code)

    def asked(self, code: int, *path: str) -> list[Request]:
        """Its requests of one method and path."""
        return [each for each in self.requests if each.code == code and each.path == path]

    @property
    def registers(self) -> list[Request]:
        """The Registers that came."""
        return self.asked(codes.POST, "rd")

    @property
    def updates(self) -> list[Request]:
        """The Updates that came."""
        return self.asked(codes.POST, "rd", "1")

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                answer = self.answer(event.request)
                if answer is not None:
                    self.endpoint.respond(event.exchange, answer, self._world.now)
            elif isinstance(event, ResponseReceived):
                self.responses.append(event.response)
            elif isinstance(event, ExchangeFailed):
                self.failures += 1


class World:
    """One device, and servers at their URIs."""

    def __init__(
        self,
        accounts: Sequence[ServerAccount],
        *,
        values: dict[str, Value] | None = None,
        **settings: Any,
    ) -> None:
        self.network = SimulatedNetwork(1)
        self.settings = DeviceSettings(**settings)
        self.records: list[Record] = []
        self.models: Models = device_models(self.settings.lwm2m_version)
        identity = DeviceIdentity("lamp-7", "SN-7", "street_lamp", 52.1, 4.3, 7)
        model = MODELS["street_lamp"]
        template = make_template(
            model, identity, BEGAN_US / 1e6, self.settings.lifetime_s, self.models,
            accounts=accounts, lwm2m_version=self.settings.lwm2m_version,
            firmware=self.settings.firmware,
        )  # fmt: skip
        boots = iter(range(1000))
        environment = Environment(
            self.settings, self.records.append, lambda: 0.0, lambda: f"boot-{next(boots)}"
        )
        self.device = Device(
            environment, template, identity, model, city_s=BEGAN_US / 1e6, phase=0.25,
            accounts=accounts,
        )  # fmt: skip
        for path, value in (values or {}).items():
            self.device.tree.apply({ObjectPath.parse(path): value})
        self.servers: dict[str, Server] = {}
        self._endpoint = CoapEndpoint(TransmissionParameters(), random.Random(2).randbytes)
        self._sent: dict[int, SendRequest] = {}
        self.network.attach(DEVICE, self._endpoint, self._handle)

    # ---- time ----

    @property
    def now(self) -> float:
        return self.network.now

    def moment(self) -> Moment:
        return Moment(round(self.now * 1e9), BEGAN_US + round(self.now * 1e6))

    def run(self, seconds: float) -> None:
        """Let time pass for the network and the device."""
        until = self.now + seconds
        while self.now < until - STEP_S / 2:
            self._hear()
            self.network.run(until=self.now + STEP_S)
            due = self.device.next_timer()
            if due is not None and due <= self.now:
                self.device.handle_timer(self.moment())
                self.carry_out()

    # ---- the story ----

    def server(self, uri: str) -> Server:
        """The server at a URI; it is there from the first time on."""
        if uri not in self.servers:
            self.servers[uri] = Server(self, uri)
        return self.servers[uri]

    def start(self, *uris: str) -> list[Server]:
        """Switch the device on, with servers at these URIs, and let a second pass."""
        servers = [self.server(uri) for uri in uris]
        self.device.start(0, self.moment())
        self.carry_out()
        self.run(1)
        return servers

    def take_away(self, uri: str) -> None:
        """The server at this URI answers no more."""
        self.network.detach(uri)

    def recorded(self, kind: type[_R]) -> list[_R]:
        """The records of one kind, in order."""
        return [record for record in self.records if isinstance(record, kind)]

    def encode(self, base: str, values: dict[str, Value], content_format: int = 11542) -> bytes:
        """Values as a payload."""
        nodes = [Node(ObjectPath.parse(path), value) for path, value in values.items()]
        path = None if base == "/" else ObjectPath.parse(base)
        return encode_payload(content_format, path, nodes, self.models)

    def put(self, base: str, values: dict[str, Value]) -> Request:
        """A write of an instance, as a bootstrap server makes it."""
        payload = self.encode(base, values)
        return Request(
            codes.PUT, ObjectPath.parse(base).segments, content_format=11542, payload=payload
        )

    def carry_out(self) -> None:
        for action in self.device.take_actions():
            if isinstance(action, SendRequest):
                exchange = self._endpoint.send_request(action.account.uri, action.request, self.now)
                self._sent[exchange] = action
            elif isinstance(action, Notify):
                self._endpoint.notify(
                    action.exchange, action.response, self.now, confirmable=action.confirmable
                )
            elif isinstance(action, EndExchange):
                self._endpoint.cancel(action.exchange, self.now)

    # ---- inside ----

    def _hear(self) -> None:
        # A device that sleeps is off the network.
        if self.device.is_listening:
            self.network.attach(DEVICE, self._endpoint, self._handle)
        else:
            self.network.detach(DEVICE)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                account = self.device.account_at(str(event.peer))
                answer = self.device.serve(
                    event.request, event.exchange, event.message_id, account, self.moment()
                )
                self._endpoint.respond(event.exchange, answer, self.now)
            elif isinstance(event, ResponseReceived):
                sent = self._sent.pop(event.exchange)
                self.device.response_received(sent, event.response, self.moment())
            elif isinstance(event, ExchangeFailed):
                found = self._sent.pop(event.exchange, None)
                if found is None:
                    self.device.observation_ended(event.exchange, self.moment())
                else:
                    self.device.exchange_failed(found, self.moment())
            self.carry_out()
