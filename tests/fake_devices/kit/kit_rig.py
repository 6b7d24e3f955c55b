"""A device of the kit and its server on a simulated network, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fake_devices import kit
from fake_devices.device import (
    DEFAULT_ACCOUNT,
    EndExchange,
    Moment,
    Notify,
    OpenUplink,
    PublishPack,
    SendRequest,
)
from fake_devices.fleet.config import FleetConfig
from harness.testing import HandMovedClock, SimulatedNetwork, seeded_draw
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
from lwm2m.codecs import Node, content_formats, decode_payload, encode_payload
from lwm2m.objects import ObjectLink, ObjectPath, Value, builtin_models

DEVICE, SERVER = "device", "server"
STEP_S = 0.05
MODELS = builtin_models()


class KitRig:
    """Runs `device` against a server that accepts everything; `now` is virtual seconds."""

    def __init__(self, device: kit.Device, seed: int = 1, **settings: Any) -> None:
        self.device = device
        self.clock = HandMovedClock()
        self.network = SimulatedNetwork(seed)
        config = msgspec.structs.replace(device.config, server="coap://127.0.0.1:5683", **settings)
        assert isinstance(config, FleetConfig)
        self.core = device.make_core(config, [DEFAULT_ACCOUNT], self.clock)
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.opened: list[OpenUplink] = []
        self.published: list[PublishPack] = []
        self._began_s = self.clock.now_s
        self._device_side = CoapEndpoint(TransmissionParameters(), seeded_draw(seed))
        self._server_side = CoapEndpoint(
            TransmissionParameters(), random.Random(f"{seed}/server").randbytes
        )
        self.network.attach(DEVICE, self._device_side, self._device_events)
        self.network.attach(SERVER, self._server_side, self._server_events)
        self._sent: dict[int, SendRequest] = {}

    def moment(self) -> Moment:
        return Moment(self.clock.now_ns(), self.clock.wall_us())

    def start(self) -> KitRig:
        """Switch the device on and let it register."""
        self.core.start(0, self.moment())
        self.carry_out()
        self.run(1)
        return self

    def run(self, seconds: float) -> None:
        """Let `seconds` pass for the network and the device."""
        for _ in range(round(seconds / STEP_S)):
            self.network.run(until=self.network.now + STEP_S)
            self.clock.advance(STEP_S)
            due = self.core.next_timer()
            if due is not None and due <= self.clock.now_s:
                self.core.handle_timer(self.moment())
                self.carry_out()

    def send(self, request: Request) -> Response:
        """The device's answer to a request of the server."""
        before = len(self.responses)
        self._server_side.send_request(DEVICE, request, self.network.now)
        self.run(1)
        return self.responses[before]

    def read(self, path: str) -> dict[str, Value]:
        """What a server reads there, by path."""
        base = ObjectPath.parse(path)
        answer = self.send(Request(codes.GET, base.segments, accept=content_formats.SENML_CBOR))
        assert codes.code_text(answer.code) == "2.05"
        assert answer.content_format is not None
        nodes = decode_payload(answer.content_format, base, answer.payload, MODELS)
        return {str(node.path): node.value for node in nodes}

    def write(self, path: str, values: dict[str, Value], code: int = codes.PUT) -> str:
        """The code of the device's answer to a write."""
        base = ObjectPath.parse(path)
        nodes = [Node(ObjectPath.parse(each), value) for each, value in values.items()]
        payload = encode_payload(content_formats.SENML_CBOR, base, nodes, MODELS)
        request = Request(
            code, base.segments, content_format=content_formats.SENML_CBOR, payload=payload
        )
        return codes.code_text(self.send(request).code)

    def execute(self, path: str, arguments: bytes = b"") -> str:
        """The code of the device's answer to an Execute."""
        base = ObjectPath.parse(path)
        return codes.code_text(
            self.send(Request(codes.POST, base.segments, payload=arguments)).code
        )

    def take_account(self, endpoint: str) -> None:
        """Create the MQTT account with a stream of states and one of alarms, and connect."""
        broker: dict[str, Value] = {
            "/18830/0/0": "mqtts://127.0.0.1:8883", "/18830/0/1": endpoint, "/18830/0/2": True,
            "/18830/0/3": 60, "/18830/0/6": 2, "/18830/0/7": b"certificate",
            "/18830/0/8": b"authority", "/18830/0/9": b"key", "/18830/0/10": 2,
        }  # fmt: skip
        assert self.write("/18830", broker, codes.POST) == "2.01"
        for number, stream in enumerate(("state", "alarm")):
            base = f"/18831/{number}"
            publication: dict[str, Value] = {
                f"{base}/0": "", f"{base}/1": ObjectLink(18830, 0),
                f"{base}/2": f"devices/{endpoint}/{stream}", f"{base}/3": 1, f"{base}/4": False,
                f"{base}/5": True, f"{base}/6": 112,
            }  # fmt: skip
            assert self.write("/18831", publication, codes.POST) == "2.01"
        self.run(5)
        assert self.opened
        self.core.uplink_connected(self.moment())
        self.carry_out()

    def carry_out(self) -> None:
        """Do what the device wants done."""
        for action in self.core.take_actions():
            if isinstance(action, SendRequest):
                exchange = self._device_side.send_request(SERVER, action.request, self.network.now)
                self._sent[exchange] = action
            elif isinstance(action, Notify):
                self._device_side.notify(
                    action.exchange,
                    action.response,
                    self.network.now,
                    confirmable=action.confirmable,
                )
            elif isinstance(action, EndExchange):
                self._device_side.cancel(action.exchange, self.network.now)
            elif isinstance(action, OpenUplink):
                self.opened.append(action)
            elif isinstance(action, PublishPack):
                self.published.append(action)

    def _device_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                answer = self.core.serve(
                    event.request, event.exchange, event.message_id, DEFAULT_ACCOUNT, self.moment()
                )
                self._device_side.respond(event.exchange, answer, self.network.now)
            elif isinstance(event, ResponseReceived):
                sent = self._sent.pop(event.exchange)
                self.core.response_received(sent, event.response, self.moment())
            elif isinstance(event, ExchangeFailed):
                self.core.observation_ended(event.exchange, self.moment())
            self.carry_out()

    def _server_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                created = event.request.path == ("rd",)
                answer = Response(
                    codes.CREATED if created else codes.CHANGED,
                    location_path=("rd", "1") if created else (),
                )
                self._server_side.respond(event.exchange, answer, self.network.now)
            elif isinstance(event, ResponseReceived):
                self.responses.append(event.response)


def thermometer(
    temperature: Callable[[], Value] = lambda: 21.5,
    reports: Sequence[int] = (5700,),
    **settings: Any,
) -> kit.Device:
    """A device that measures a temperature."""
    device = kit.Device("room-1", **settings)
    device.add("/3303/0", {5700: temperature, 5701: "Cel"}, reports=reports)
    return device
