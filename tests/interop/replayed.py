"""Our device and our server without sockets, to be given what peers once sent."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fake_devices.device import (
    DEFAULT_ACCOUNT,
    Device,
    DeviceSettings,
    Environment,
    Moment,
    device_models,
    make_template,
)
from fake_devices.devices import MODELS, DeviceIdentity
from harness.testing import seeded_draw
from lwm2m.coap import CoapEndpoint, Message, RequestReceived, TransmissionParameters
from lwm2m.coap.message import decode_message
from tests.harness.lwm2m_server.world import World
from tests.interop.ours import LATITUDE, LIFETIME_S, LONGITUDE, SERIAL
from tests.interop.recording import RecordedMessage

PEER = ("127.0.0.1", 5683)
# 2026-11-20 21:00 UTC.
_BEGAN_US = 1_795_208_400_000_000


class ReplayedDevice:
    """The device of the interoperability tests; time does not pass but in `answers`."""

    def __init__(self) -> None:
        settings = DeviceSettings(lifetime_s=LIFETIME_S, connects=False)
        environment = Environment(settings, lambda record: None, lambda: 0.5, lambda: "boot")
        model = MODELS["street_lamp"]
        identity = DeviceIdentity("replayed", SERIAL, "street_lamp", LATITUDE, LONGITUDE, 0)
        city_s = _BEGAN_US / 1e6
        template = make_template(model, identity, city_s, LIFETIME_S, device_models())
        self._device = Device(environment, template, identity, model, city_s=city_s, phase=0.5)
        self._endpoint = CoapEndpoint(TransmissionParameters(), seeded_draw(1))

    def answers(self, messages: Iterable[RecordedMessage]) -> dict[int, Message]:
        """What the device answers to the server's messages, by message id."""
        found: dict[int, Message] = {}
        for message in messages:
            if message.sender == "server":
                moment = Moment(round(message.at_s * 1e9), _BEGAN_US + round(message.at_s * 1e6))
                self._endpoint.receive_datagram(bytes.fromhex(message.hex), PEER, moment.now)
                self._serve(moment)
            for data, _ in self._endpoint.datagrams_to_send():
                answer = decode_message(data)
                found.setdefault(answer.message_id, answer)
        return found

    def _serve(self, moment: Moment) -> None:
        for event in self._endpoint.events():
            if isinstance(event, RequestReceived):
                response = self._device.serve(
                    event.request, event.exchange, event.message_id, DEFAULT_ACCOUNT, moment
                )
                self._endpoint.respond(event.exchange, response, moment.now)
                # What it would do next, such as an Update or a notification, is not answered here.
                self._device.take_actions()


def server_answers(directory: Path, messages: Iterable[RecordedMessage]) -> dict[int, Message]:
    """What our server answers to a device's messages, by message id."""
    world = World(directory)
    try:
        for message in messages:
            if message.sender == "device":
                world.inject(bytes.fromhex(message.hex), PEER)
                world.settle()
    finally:
        world.die()
    answers = [decode_message(data) for data, target in world.sent if target == PEER]
    return {answer.message_id: answer for answer in reversed(answers)}
