"""A download over CoAP endpoints: whole images by blocks, and one that is cut off and goes on."""

from __future__ import annotations

import random

import pytest

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    ExchangeFailed,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.firmware import Download, FirmwareUri
from lwm2m.transport.simulated import SimulatedNetwork

# Larger than a body that an endpoint puts together by itself.
IMAGE = random.Random(7).randbytes(100_000)


class Transfer:
    """A download from a server that can be taken off the network."""

    def __init__(self, block_size: int) -> None:
        self.network = SimulatedNetwork(7)
        parameters = TransmissionParameters(block_size=block_size)
        self.files = CoapEndpoint(parameters, random.Random(1).randbytes)
        self.device = CoapEndpoint(parameters, random.Random(2).randbytes)
        self.download = Download(FirmwareUri("coap://files/lamp.bin"))
        self.is_done = False
        self.failures = 0
        self.blocks = 0
        self.bytes_received = 0
        self.network.attach("files", self.files, self._serve)
        self.network.attach("device", self.device, self._take)

    def ask(self) -> None:
        """Ask for the next block."""
        self.device.send_request("files", self.download.next_request(), self.network.now)

    def _serve(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                response = Response(codes.CONTENT, IMAGE)
                self.files.respond(event.exchange, response, self.network.now)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ResponseReceived):
                self.blocks += 1
                self.bytes_received += len(event.response.payload)
                taken = self.download.take(event.response)
                assert isinstance(taken, bool)
                self.is_done = taken
                if self.blocks == 20:
                    self.network.detach("files")
                if not taken:
                    self.ask()
            elif isinstance(event, ExchangeFailed):
                self.failures += 1
                self.network.attach("files", self.files, self._serve)
                self.ask()


@pytest.mark.parametrize("block_size", [256, 1024])
def test_a_download_that_is_cut_off_goes_on_where_it_was(block_size: int) -> None:
    transfer = Transfer(block_size)
    transfer.ask()
    transfer.network.run(until=400.0)
    assert transfer.is_done
    assert transfer.failures == 1
    assert transfer.download.body == IMAGE
    # No block came twice.
    assert transfer.bytes_received == len(IMAGE)
    assert transfer.blocks > 20
