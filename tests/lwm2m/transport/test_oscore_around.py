"""OSCORE put around an endpoint that is in use: what is open goes on, and contexts come later."""

from __future__ import annotations

from harness.testing import seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport.oscore import OscoreContexts, OscoreEndpoint, OscoreMaterial, mirrored
from lwm2m.transport.peers import security_of

CLIENT, SERVER = ("127.0.0.2", 40_000), ("127.0.0.1", 5_683)
MATERIAL = OscoreMaterial(bytes(16), b"\x0a", b"\x0b", endpoint_name="server")
PARAMETERS = TransmissionParameters()


def test_an_exchange_that_is_open_is_answered_under_its_handle_and_then_protected_ones() -> None:
    plain = CoapEndpoint(PARAMETERS, seeded_draw(1))
    client_contexts = OscoreContexts(seeded_draw(2))
    client_contexts.add(MATERIAL)
    client = OscoreEndpoint(PARAMETERS, client_contexts, seeded_draw(3), allow_unprotected=True)
    protected_peer = client_contexts.peer(SERVER, MATERIAL.recipient_id)

    asked = plain.send_request(CLIENT, Request(codes.GET, ("3",)), 0.0)
    for data, _ in plain.datagrams_to_send():
        client.receive_datagram(data, SERVER, 0.0)
    [received] = client.events()
    assert isinstance(received, RequestReceived)
    client.respond(received.exchange, Response(codes.CONTENT, b"plain"), 0.0)

    # Without OSCORE, its option is critical and not known (RFC 8613 §2).
    client.send_request(protected_peer, Request(codes.GET, ("early",)), 0.0)
    contexts = OscoreContexts(seeded_draw(4))
    around = OscoreEndpoint(
        PARAMETERS, contexts, seeded_draw(5), allow_unprotected=True, below=plain
    )
    contexts.add(mirrored(MATERIAL, "lamp"))
    for data, _ in client.datagrams_to_send():
        around.receive_datagram(data, CLIENT, 0.1)
    events = around.events()
    [answer] = [event for event in events if isinstance(event, ResponseReceived)]
    assert (answer.exchange, answer.response.payload) == (asked, b"plain")
    [request] = [event for event in events if isinstance(event, RequestReceived)]
    assert request.request.path == ("early",)
    assert security_of(request.peer).mode == "oscore"


def test_an_endpoint_handles_a_critical_option_from_when_it_is_told() -> None:
    endpoint = CoapEndpoint(PARAMETERS, seeded_draw(1))
    client = CoapEndpoint(PARAMETERS, seeded_draw(2))
    request = Request(codes.PUT, ("x",), options=((5, b""),))  # If-None-Match

    def ask() -> list[object]:
        client.send_request(SERVER, request, 0.0)
        for data, _ in client.datagrams_to_send():
            endpoint.receive_datagram(data, CLIENT, 0.0)
        return [event for event in endpoint.events() if isinstance(event, RequestReceived)]

    assert ask() == []
    for data, _ in endpoint.datagrams_to_send():
        client.receive_datagram(data, SERVER, 0.0)
    endpoint.handle_option(5)
    assert len(ask()) == 1
