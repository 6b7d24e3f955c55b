"""The registration interface over the real CoAP core, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Security
from contracts.journal import DatagramRefused, EventLogged
from harness.lwm2m_server.answers import RETRY_AFTER_S
from harness.lwm2m_server.config import ServerLimits
from lwm2m.coap import CON, Request, codes, max_age_s
from lwm2m.coap.requests import encode_request
from lwm2m.registration import RegistrationPolicy
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


def test_a_lifetime_of_0_never_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register(lifetime_s=0)
    world.run_for(1)
    world.restart()
    bridge.connect()
    world.run_for(10 * 365 * 86_400)
    assert [event.kind for event in bridge.events()] == ["registered"]
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


@pytest.mark.parametrize(
    ("version", "code"), [("1.0", "2.01"), ("1.1", "2.01"), ("1.2", "2.01"), ("1.3", "4.12")]
)
def test_the_versions_that_are_served_are_1_0_to_1_2(
    tmp_path: Path, version: str, code: str
) -> None:
    world = World(tmp_path)
    query = ("ep=lamp-1", "lt=60", "b=U", f"lwm2m={version}")
    assert code_of(world, register(*query)) == code


@pytest.mark.parametrize(("default", "code"), [(86_400, "2.01"), (None, "4.00")])
def test_a_missing_lifetime_is_what_the_policy_makes_of_it(
    tmp_path: Path, default: int | None, code: str
) -> None:
    world = World(tmp_path, policy=RegistrationPolicy(lifetime_s_default=default))
    assert code_of(world, register("ep=lamp-1", "lwm2m=1.1", "b=U")) == code


PROFILES = {"6:27354b9a": '</1/0>,</3/0>,</4/0>;ver="1.3"', "oma:lamp": "</3416/0>"}


def test_ets_110_a_profile_stands_for_the_object_list(tmp_path: Path) -> None:
    world = World(tmp_path, profiles=PROFILES)
    bridge = world.bridge()
    query = ("ep=lamp-1", "lt=60", "lwm2m=1.2", "pid=6:27354b9a")
    assert code_of(world, register(*query, payload=b"", content_format=None)) == "2.01"
    (event,) = bridge.events("registered")
    assert event.registration is not None
    assert isinstance(event.registration.object_links, list)
    assert [link.path for link in event.registration.object_links] == ["/1/0", "/3/0", "/4/0"]


def test_ets_111_profiles_and_further_objects_are_merged(tmp_path: Path) -> None:
    world = World(tmp_path, profiles=PROFILES)
    bridge = world.bridge()
    query = ("ep=lamp-1", "lt=60", "lwm2m=1.2", "pid=6:27354b9a,oma:lamp")
    assert code_of(world, register(*query, payload=b"</16/0>")) == "2.01"
    (event,) = bridge.events("registered")
    assert event.registration is not None
    assert isinstance(event.registration.object_links, list)
    paths = [link.path for link in event.registration.object_links]
    assert paths == ["/1/0", "/3/0", "/4/0", "/3416/0", "/16/0"]


def test_an_unknown_profile_is_a_conflict(tmp_path: Path) -> None:
    world = World(tmp_path, profiles=PROFILES)
    query = ("ep=lamp-1", "lt=60", "lwm2m=1.2", "pid=6:00000000")
    assert code_of(world, register(*query)) == "4.09"
    assert world.core.counters()["refused_unknown_profile"] == 1


def test_a_full_table_says_when_to_try_again(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(registrations_max=1))
    world.device("lamp-1").register()
    late = world.device("lamp-2")
    world.run_for(1)
    late.register()
    world.run_for(1)
    assert late.responses[-1].code == codes.SERVICE_UNAVAILABLE
    assert late.responses[-1].options == ((14, b"\x3c"),)


def test_requests_over_the_rate_are_answered_5_03_and_others_are_served(tmp_path: Path) -> None:
    limits = ServerLimits(requests_per_device_per_s=1.0, requests_per_device_burst=2)
    world = World(tmp_path, limits=limits)
    bridge = world.bridge()
    greedy, modest = world.device("greedy"), world.device("modest")
    for _ in range(10):
        greedy.register()
    modest.register()
    world.run_for(1)
    refused = [one for one in greedy.responses if one.code == codes.SERVICE_UNAVAILABLE]
    assert refused
    assert refused[0].options == ((14, b"\x05"),)
    assert [event.endpoint for event in bridge.events("registered")].count("modest") == 1


def test_one_address_without_security_has_so_many_registrations_and_no_more(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(registrations_per_peer_max=2))
    lamps = [world.device(f"lamp-{number}") for number in range(4)]
    for lamp in lamps[:3]:
        lamp.register()
    world.run_for(1)
    refused = lamps[2].responses[-1]
    assert refused.code == codes.SERVICE_UNAVAILABLE
    assert max_age_s(refused) == RETRY_AFTER_S
    assert world.core.counters()["refused_peer_full"] == 1
    lamps[0].register()
    world.run_for(1)
    assert lamps[0].responses[-1].code == codes.CREATED, "who is there already may come again"
    world.secure(lamps[3], "lamp-3", endpoint_name="lamp-3")
    lamps[3].register()
    world.run_for(1)
    assert lamps[3].responses[-1].code == codes.CREATED, "who proves who it is takes nobody's place"
    lamps[0].deregister()
    lamps[2].register()
    world.run_for(1)
    assert lamps[2].responses[-1].code == codes.CREATED


def test_who_was_counted_at_an_address_is_counted_there_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(registrations_per_peer_max=1))
    first, second = world.device("lamp-1"), world.device("lamp-2")
    first.register()
    world.run_for(1)
    world.restart()
    second.register()
    world.run_for(1)
    assert second.responses[-1].code == codes.SERVICE_UNAVAILABLE


@pytest.mark.slow
def test_a_hundred_thousand_registrations_of_one_endpoint_leave_one(tmp_path: Path) -> None:
    limits = ServerLimits(events_kept_max=1_000, log_bytes_compact=4 * 1024 * 1024)
    world = World(tmp_path, limits=limits)
    device = world.device("lamp-1")
    query = ("ep=lamp-1", "lt=86400", "lwm2m=1.1", "b=U")
    request = Request(codes.POST, ("rd",), query, 40, None, None, LINKS)
    for turn in range(1_000):
        sources = [("127.0.2.1", 1_024 + (100 * turn + number) % 60_000) for number in range(100)]
        data = encode_request(CON, turn, b"", request)
        datagrams = [(data, source) for source in sources]
        world.core.receive_datagrams(datagrams)
        world.turn.end()
        world.sent.clear()
        world._under_way.clear()
        world.clock.advance(1)
        world.core.handle_timer()
    counters = world.core.counters()
    assert counters["registrations"] == 1
    assert counters["events_kept"] <= 1_000
    assert len(world.log_bytes()) < 16 * 1024 * 1024
    device.register()
    world.run_for(1)
    assert device.responses[-1].code == codes.CREATED
