"""A device and its servers: registration by the Server object's rules; ETS 101 to 109 and 950."""

from __future__ import annotations

import pytest

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed
from fake_devices.device import ServerAccount
from lwm2m.coap import Request, Response, codes
from lwm2m.coap.options import MAX_AGE, encode_uint
from lwm2m.codecs import content_formats, link_format
from lwm2m.objects import ObjectPath
from tests.fake_devices.device.several_servers import BEGAN_US, ONE, TWO, Server, World

FIRST, SECOND = ServerAccount(101, ONE), ServerAccount(102, TWO)


def _world(**settings: object) -> World:
    return World([FIRST], **settings)


def _listed(request: Request) -> set[str]:
    return {link.target for link in link_format.decode(request.payload)}


def _forbid(request: Request) -> Response:
    return Response(codes.FORBIDDEN)


def _refuse_versions_but(version: str, server: Server) -> None:
    accept = server.answer

    def answer(request: Request) -> Response | None:
        if request.path == ("rd",) and f"lwm2m={version}" not in request.query:
            return Response(codes.PRECONDITION_FAILED)
        return accept(request)

    server.answer = answer


# ---- one server ----


def test_ets_101_a_register_says_who_it_is_and_lists_neither_security_nor_oscore() -> None:
    world = _world(lifetime_s=86_400)
    (server,) = world.start(ONE)
    (register,) = server.registers
    assert set(register.query) == {"ep=lamp-7", "lt=86400", "lwm2m=1.1", "b=U"}
    assert register.content_format == content_formats.LINK_FORMAT
    listed = _listed(register)
    assert {"/1/0", "/3/0"} <= listed
    assert not [target for target in listed if target.startswith(("/0/", "/21/"))]
    assert [each.location for each in world.recorded(DeviceRegistered)] == ["/rd/1"]


def test_ets_102_107_a_lifetime_that_is_written_is_reported_at_once_and_kept_to() -> None:
    world = _world(lifetime_s=86_400)
    (server,) = world.start(ONE)
    assert server.write("/1/0/1", "20") == "2.04"
    assert [each.query for each in server.updates] == [("lt=20",)]
    world.run(11)
    assert [each.query for each in server.updates] == [("lt=20",), ()]


@pytest.mark.parametrize(("value", "wait_s"), [(30, 30), (None, 86_400)])
def test_ets_103_a_disabled_device_deregisters_and_comes_back_after_its_timeout(
    value: int | None, wait_s: int
) -> None:
    world = World([FIRST], values=None if value is None else {"/1/0/5": value})
    (server,) = world.start(ONE)
    assert server.execute("/1/0/4") == "2.04"
    assert len(server.asked(codes.DELETE, "rd", "1")) == 1
    assert not world.device.is_registered
    due = world.device.next_timer()
    assert due is not None
    assert due == pytest.approx(world.now + wait_s, abs=2)
    if value is not None:
        world.run(value)
        assert len(server.registers) == 2


def test_ets_104_the_update_trigger_refreshes_without_parameters() -> None:
    world = _world()
    (server,) = world.start(ONE)
    assert server.execute("/1/0/8") == "2.04"
    (update,) = server.updates
    assert (update.query, update.payload) == ((), b"")


@pytest.mark.parametrize(
    ("argument", "code", "query"), [("0='U'", "2.04", ("b=U",)), ("0='T'", "4.00", None)]
)
def test_the_triggers_argument_names_the_transport(
    argument: str, code: str, query: tuple[str, ...] | None
) -> None:
    (server,) = _world().start(ONE)
    assert server.execute("/1/0/8", argument) == code
    assert [each.query for each in server.updates] == ([] if query is None else [query])


def test_ets_105_a_device_that_was_forgotten_registers_again() -> None:
    world = _world()
    (server,) = world.start(ONE)
    accept = server.answer

    def forget(request: Request) -> Response | None:
        is_update = request.path == ("rd", "1")
        return Response(codes.NOT_FOUND) if is_update else accept(request)

    server.answer = forget
    server.execute("/1/0/8")
    world.run(1)
    assert len(server.registers) == 2
    assert world.device.is_registered


def test_a_binding_that_is_written_is_reported() -> None:
    (server,) = _world().start(ONE)
    assert server.write("/1/0/7", "U") == "2.04"
    assert [each.query for each in server.updates] == [("b=U",)]


def test_ets_108_queue_mode_is_registered_as_its_version_says() -> None:
    (server,) = _world(queue_mode=True).start(ONE)
    assert {"b=U", "Q"} <= set(server.registers[0].query)
    (old,) = _world(queue_mode=True, lwm2m_version="1.0").start(ONE)
    assert "b=UQ" in old.registers[0].query


def test_ets_109_a_device_in_queue_mode_hears_nothing_while_it_sleeps() -> None:
    world = _world(queue_mode=True, lifetime_s=400)
    (server,) = world.start(ONE)
    assert server.read("/3/0/2") == b"SN-7"
    world.run(94)
    assert not world.device.is_listening
    server.endpoint.send_request("device", Request(codes.GET, ("3", "0", "2")), world.now)
    world.run(5)
    assert len(server.responses) == 1
    world.run(208)
    assert len(server.updates) == 1
    assert world.device.is_listening
    assert server.read("/3/0/2") == b"SN-7"


@pytest.mark.parametrize("oldest", ["1.2", "1.1", "1.0"])
def test_a_device_offers_older_versions_until_one_is_taken(oldest: str) -> None:
    world = _world(lwm2m_version="1.2")
    _refuse_versions_but(oldest, world.server(ONE))
    (server,) = world.start(ONE)
    offered = [each for each in ("1.2", "1.1", "1.0") if each >= oldest]
    assert [[q for q in r.query if "lwm2m" in q] for r in server.registers] == [
        [f"lwm2m={version}"] for version in offered
    ]
    assert world.device.is_registered


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    world = _world()
    server = world.server(ONE)
    accept = server.answer
    busy = Response(codes.SERVICE_UNAVAILABLE, options=((MAX_AGE, encode_uint(40)),))
    server.answer = lambda request: busy
    world.start(ONE)
    server.answer = accept
    world.run(38)
    assert len(server.registers) == 1
    world.run(3)
    assert len(server.registers) == 2


def test_the_retry_rules_of_the_server_object_count() -> None:
    world = World([FIRST], values={"/1/0/17": 3, "/1/0/18": 10, "/1/0/20": 1})
    server = world.server(ONE)
    server.answer = _forbid
    world.start(ONE)
    world.run(100)
    assert len(server.registers) == 3
    assert world.device.next_timer() is None
    assert [each.code for each in world.recorded(DeviceRegistrationFailed)] == ["4.03"] * 3


def test_a_reboot_registers_afresh_and_ends_observations() -> None:
    world = _world()
    (server,) = world.start(ONE)
    server.ask(Request(codes.GET, ("3", "0", "13"), observe=0))
    assert server.execute("/3/0/4") == "2.04"
    world.run(5)
    assert len(server.registers) == 2
    heard = len(server.responses)
    world.run(5)
    assert len(server.responses) == heard


def test_a_device_that_is_switched_off_in_good_order_deregisters() -> None:
    world = _world()
    (server,) = world.start(ONE)
    world.device.stop(world.moment())
    world.carry_out()
    world.run(1)
    assert len(server.asked(codes.DELETE, "rd", "1")) == 1
    assert world.device.next_timer() is None


def test_an_alert_of_the_server_is_shown_and_ends_the_attempts() -> None:
    world = _world()
    world.server(ONE)
    world.device.start(0, world.moment())
    (sent,) = world.device.take_actions()
    world.device.exchange_failed(sent, world.moment(), alert=115)  # type: ignore[arg-type]  # it is a SendRequest
    assert world.device.tree.get(ObjectPath(1, 0, 11)) == 115
    assert world.device.next_timer() is None


def test_requests_of_nobody_that_the_device_knows_are_refused() -> None:
    world = _world()
    world.start(ONE)
    assert codes.code_text(world.server(TWO).ask(Request(codes.GET, ("3", "0"))).code) == "4.01"


# ---- observations and Sends ----


def test_an_observed_value_is_told_to_who_observes_it() -> None:
    world = _world()
    (server,) = world.start(ONE)
    request = Request(codes.GET, ("3", "0", "9"), accept=content_formats.TEXT, observe=0)
    world.device.values_changed({ObjectPath(3, 0, 9): 80}, world.moment())
    assert server.ask(request).payload == b"80"
    world.device.values_changed({ObjectPath(3, 0, 9): 79}, world.moment())
    world.carry_out()
    world.run(1)
    assert server.responses[-1].payload == b"79"


def test_a_new_registration_begins_without_observations() -> None:
    world = _world()
    (server,) = world.start(ONE)
    server.ask(Request(codes.GET, ("3", "0", "9"), observe=0))
    server.ask(Request(codes.GET, ("3", "0", "2"), observe=0))
    accept = server.answer
    server.answer = lambda request: (
        Response(codes.NOT_FOUND) if request.path == ("rd", "1") else accept(request)
    )
    server.execute("/1/0/8")
    world.run(1)
    heard = len(server.responses)
    world.device.values_changed({ObjectPath(3, 0, 2): "other"}, world.moment())
    world.carry_out()
    world.run(1)
    assert len(server.responses) == heard


def test_a_notification_that_nobody_takes_ends_the_observation() -> None:
    world = _world(lifetime_s=86_400)
    (server,) = world.start(ONE)
    server.ask(Request(codes.GET, ("3", "0", "2"), observe=0))
    server.endpoint.forget_peer("device", world.now)
    for text in ("a", "b", "c"):
        world.device.values_changed({ObjectPath(3, 0, 2): text}, world.moment())
        world.carry_out()
        world.run(1)
    # The first was answered by a Reset, which ends it: nothing is told after it.
    sent = world.network.sent
    world.device.values_changed({ObjectPath(3, 0, 2): "d"}, world.moment())
    world.carry_out()
    world.run(1)
    assert world.network.sent == sent


def test_a_send_goes_to_servers_that_have_not_muted_it() -> None:
    world = World([FIRST, SECOND], values={"/1/0/23": False})
    one, two = world.start(ONE, TWO)
    count = world.device.send_now([ObjectPath(3, 0, 2)], world.moment())
    world.carry_out()
    world.run(1)
    assert count == 1
    assert len(one.asked(codes.POST, "dp")) == 1
    assert two.asked(codes.POST, "dp") == []


def test_sends_repeat_by_configuration() -> None:
    world = World(
        [FIRST], values={"/1/0/23": False}, send_every_s=10.0, send_paths=("/3/0/2", "/3/0/13")
    )
    (server,) = world.start(ONE)
    world.run(30)
    sends = server.asked(codes.POST, "dp")
    assert len(sends) == 3
    assert all(each.content_format == content_formats.SENML_CBOR for each in sends)


def test_lwm2m_1_0_has_no_send() -> None:
    world = World([FIRST], values={"/1/0/23": False}, lwm2m_version="1.0")
    world.start(ONE)
    assert world.device.send_now([ObjectPath(3, 0, 2)], world.moment()) == 0


def test_a_send_wakes_a_device_in_queue_mode() -> None:
    world = World([FIRST], values={"/1/0/23": False}, queue_mode=True, awake_s=10.0)
    (server,) = world.start(ONE)
    world.run(15)
    assert not world.device.is_listening
    world.device.send_now([ObjectPath(3, 0, 2)], world.moment())
    world.carry_out()
    world.run(1)
    assert world.device.is_listening
    assert server.read("/3/0/2") == b"SN-7"


# ---- several servers ----


def test_ets_950_a_device_registers_with_two_servers_that_each_see_their_own_rules() -> None:
    world = World([FIRST, SECOND], values={"/1/1/1": 600})
    one, two = world.start(ONE, TWO)
    assert "lt=300" in one.registers[0].query
    assert "lt=600" in two.registers[0].query
    assert {"/1/0", "/1/1"} <= _listed(one.registers[0])
    assert len(world.recorded(DeviceRegistered)) == 2
    two.execute("/1/1/8")
    assert (len(one.updates), len(two.updates)) == (0, 1)


def test_servers_are_registered_with_by_priority() -> None:
    world = World([FIRST, SECOND], values={"/1/0/13": 5, "/1/1/13": 2})
    two = world.server(TWO)
    two.answer = lambda request: None
    one, _ = world.start(ONE, TWO)
    world.run(5)
    assert len(two.registers) >= 1
    assert one.registers == []


@pytest.mark.parametrize(("blocks", "registers"), [(True, 0), (False, 1)])
def test_a_failed_registration_blocks_the_next_server_where_the_rules_say_so(
    blocks: bool, registers: int
) -> None:
    rules = {"/1/0/13": 1, "/1/0/15": blocks, "/1/0/17": 1, "/1/0/20": 1, "/1/1/13": 2}
    world = World([FIRST, SECOND], values=rules)
    world.server(ONE).answer = _forbid
    one, two = world.start(ONE, TWO)
    world.run(5)
    assert len(one.registers) == 1
    assert len(two.registers) == registers


def test_one_server_that_disables_the_device_does_not_disturb_the_other() -> None:
    world = World([FIRST, SECOND], values={"/1/0/5": 100})
    one, two = world.start(ONE, TWO)
    one.execute("/1/0/4")
    assert world.device.is_registered
    assert two.read("/3/0/2") == b"SN-7"


def test_access_rights_count_with_two_servers() -> None:
    world = World([FIRST, SECOND])
    one, two = world.start(ONE, TWO)
    # What the factory writes: each server sees to its own rules, and to everything else.
    assert one.execute("/1/1/8") == "4.01"
    assert two.write("/3/0/14", "+01:00") == "2.04"
    rights = next(
        path for path in world.device.tree.instances_of(2) if world.device.tree[path.child(0)] == 3
    )
    world.device.tree.remove([rights.child(2).child(0)])
    world.device.tree.apply({rights.child(2).child(101): 1})
    assert one.read("/3/0/2") == b"SN-7"
    assert codes.code_text(two.ask(Request(codes.GET, ("3", "0"))).code) == "4.01"


def test_time_is_city_time() -> None:
    world = _world()
    (server,) = world.start(ONE)
    assert int(server.read("/3/0/13")) == pytest.approx(BEGAN_US // 1_000_000, abs=5)
