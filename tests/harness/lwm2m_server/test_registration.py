"""The registration interface over the real CoAP core, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Security
from contracts.journal import DatagramRefused, EventLogged
from harness.lwm2m_server.config import ServerLimits
from lwm2m.coap import Request, codes
from tests.harness.lwm2m_server.world import LINKS, World


def code_of(world: World, request: Request) -> str:
    device = world.device(f"asks-{len(world.devices)}")
    device.send(request)
    world.run_for(1)
    return codes.code_text(device.responses[-1].code)


def register(*query: str, payload: bytes = LINKS, content_format: int | None = 40) -> Request:
    return Request(codes.POST, ("rd",), query, content_format, None, None, payload)


GOOD = ("lt=60", "lwm2m=1.1", "b=U")


def test_a_registration_is_answered_created_and_told_with_all_it_says(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register(links=b'</>;rt="oma.lwm2m";ct=112,</1/0>,</3416>;ver=1.1,</3416/0>')
    world.run_for(1)
    assert device.responses[0].code == codes.CREATED
    assert device.location[0] == "rd"
    (event,) = bridge.events("registered")
    registration = event.registration
    assert registration is not None
    assert event.registration_id == registration.registration_id == device.location[1]
    assert registration.endpoint == event.endpoint == "lamp-1"
    assert registration.lifetime_s == 60
    assert registration.lwm2m_version == "1.1"
    assert registration.binding == "U"
    assert not registration.queue_mode
    assert registration.address == "127.0.1.1:10000"
    assert registration.security == Security("nosec", None)
    assert isinstance(registration.object_links, list)
    assert [link.path for link in registration.object_links] == ["/", "/1/0", "/3416", "/3416/0"]
    assert registration.object_links[2].attributes == {"ver": "1.1"}
    assert [record.seq for record in world.observed.of(EventLogged)] == [1]


def test_an_update_renews_and_tells_what_is_new(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(50)
    device.update("lt=120", links=b"</1/0>,</3/0>")
    world.run_for(100)
    assert device.responses[1].code == codes.CHANGED
    (event,) = bridge.events("updated")
    assert event.registration is not None
    assert event.registration.lifetime_s == 120
    assert isinstance(event.registration.object_links, list)
    assert [link.path for link in event.registration.object_links] == ["/1/0", "/3/0"]
    assert bridge.events("deregistered") == []
    world.run_for(25)
    (ended,) = bridge.events("deregistered")
    assert ended.reason == "expired"


def test_update_after_expiry_is_answered_not_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(61)
    device.update()
    world.run_for(1)
    assert device.responses[-1].code == codes.NOT_FOUND
    assert world.core.counters()["refused_unknown_registration"] == 1


def test_deregistering_ends_it_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    device.deregister()
    world.run_for(1)
    device.deregister()
    world.run_for(1)
    assert [response.code for response in device.responses[1:]] == [codes.DELETED, codes.NOT_FOUND]
    assert [event.reason for event in bridge.events("deregistered")] == ["client"]


def test_registering_again_replaces_the_old_registration(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    old = device.location
    device.register()
    world.run_for(1)
    assert [event.kind for event in bridge.events()] == ["registered", "deregistered", "registered"]
    assert bridge.events("deregistered")[0].reason == "replaced"
    assert bridge.events("deregistered")[0].registration_id == old[1]
    assert device.location != old
    assert len(world.core.registrations()) == 1


def test_another_address_cannot_change_a_registration_without_security(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    assert code_of(world, Request(codes.DELETE, device.location)) == "4.04"
    assert bridge.events("deregistered") == []


@pytest.mark.parametrize(
    ("request_", "answer", "reason"),
    [
        (register(*GOOD), "4.00", "missing_endpoint_name"),
        (register("ep=", *GOOD), "4.00", "missing_endpoint_name"),
        (register("ep=a/b", *GOOD), "4.00", "illegal_endpoint_name"),
        (register("ep=+", *GOOD), "4.00", "illegal_endpoint_name"),
        (register("ep=svc:tap", *GOOD), "4.00", "illegal_endpoint_name"),
        (register("ep=" + "x" * 129, *GOOD), "4.00", "illegal_endpoint_name"),
        (register("ep=a", "lt=60", "lwm2m=9.9"), "4.12", "unsupported_version"),
        (register("ep=a", "lt=soon", "lwm2m=1.1"), "4.00", "illegal_lifetime"),
        (register("ep=a", *GOOD, payload=b"</1/0"), "4.00", "malformed_object_list"),
        (register("ep=a", *GOOD, payload=b""), "4.00", "missing_object_list"),
        (register("ep=a", *GOOD, content_format=112), "4.00", "content_format"),
        (Request(codes.GET, ("rd",)), "4.05", "unexpected_method"),
        (Request(codes.GET, (".well-known", "core")), "4.04", "unexpected_path"),
        (Request(codes.POST, ("rd", "nosuch")), "4.04", "unknown_registration"),
        (Request(codes.DELETE, ("rd", "nosuch")), "4.04", "unknown_registration"),
        (Request(codes.POST, ("rd", "a", "b")), "4.04", "unexpected_path"),
    ],
)
def test_bad_requests_get_the_answer_that_the_standard_names(
    tmp_path: Path, request_: Request, answer: str, reason: str
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    assert code_of(world, request_) == answer
    assert world.core.counters()[f"refused_{reason}"] == 1
    assert [record.reason for record in world.observed.of(DatagramRefused)] == [reason]
    assert bridge.events() == []
    assert code_of(world, register("ep=good", *GOOD)) == "2.01"


def test_a_payload_of_100_kb_is_too_large_and_the_server_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert code_of(world, register("ep=a", *GOOD, payload=LINKS * 4_500)) == "4.13"
    assert code_of(world, register("ep=b", *GOOD, payload=LINKS * 1_500)) == "4.13"
    assert code_of(world, register("ep=good", *GOOD)) == "2.01"
    assert any("too_large" in name for name in world.core.counters())


def test_a_full_table_is_answered_service_unavailable(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(registrations_max=2))
    assert code_of(world, register("ep=a", *GOOD)) == "2.01"
    assert code_of(world, register("ep=b", *GOOD)) == "2.01"
    assert code_of(world, register("ep=c", *GOOD)) == "5.03"
    assert code_of(world, register("ep=a", *GOOD)) == "2.01"


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=120))
def test_random_datagrams_are_counted_and_ignored(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    world = World(tmp_path_factory.mktemp("random"))
    world.inject(data, ("127.0.9.9", 999))
    world.run_for(1)
    assert world.core.registrations() == []
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    assert device.location


def test_registrations_live_through_a_restart_and_expire_in_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bridge()
    early, late = world.device("early"), world.device("late")
    early.register()
    world.run_for(30)
    late.register()
    world.run_for(1)
    before = world.core.registrations()
    world.restart()
    assert {one.endpoint for one in world.core.registrations()} == {"early", "late"}
    assert [one.registration_id for one in world.core.registrations()] == [
        one.registration_id for one in before
    ]
    late.update()
    bridge = world.bridge()
    world.run_for(30)
    assert [event.endpoint for event in bridge.events("deregistered")] == ["early"]
    assert late.responses[-1].code == codes.CHANGED
    world.run_for(61)
    assert [event.endpoint for event in bridge.events("deregistered")] == ["early", "late"]


def test_a_flood_of_one_refusal_is_counted_and_not_all_recorded(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(1_500):
        world.inject(b"\xff", ("127.0.9.9", 1_000 + number))
    world.settle()
    assert world.core.counters()["refused_datagram_malformed"] == 1_500
    assert len(world.observed.of(DatagramRefused)) == 1_000
