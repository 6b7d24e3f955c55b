"""A device is bootstrapped: by request, by trigger, by pack, after failures; ETS 0 to 12."""

from __future__ import annotations

import pytest

from contracts.journal import DownlinkServed
from fake_devices.device import ServerAccount
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import content_formats, link_format
from lwm2m.objects import ObjectPath, Value
from tests.fake_devices.device.several_servers import BOOT, ONE, TWO, Server, World

BOOTSTRAP = ServerAccount(None, BOOT)
FIRST = ServerAccount(101, ONE)
FINISH = Request(codes.POST, ("bs",))


def _security(number: int, uri: str = ONE, server: int = 101) -> dict[str, Value]:
    return {
        f"/0/{number}/0": uri,
        f"/0/{number}/1": False,
        f"/0/{number}/2": 3,
        f"/0/{number}/3": b"",
        f"/0/{number}/4": b"",
        f"/0/{number}/5": b"",
        f"/0/{number}/10": server,
    }


def _server(number: int, server: int = 101, lifetime_s: int = 86_400) -> dict[str, Value]:
    return {
        f"/1/{number}/0": server,
        f"/1/{number}/1": lifetime_s,
        f"/1/{number}/6": True,
        f"/1/{number}/7": "U",
    }


def _bootstrapped(world: World, boot: Server) -> list[str]:
    """Write an account and finish; the codes."""
    requests = [
        world.put("/0/1", _security(1)),
        world.put("/1/0", _server(0)),
        FINISH,
    ]
    return [codes.code_text(boot.ask(each).code) for each in requests]


def _world(*accounts: ServerAccount, **settings: object) -> World:
    return World(accounts or (BOOTSTRAP,), **settings)


def test_ets_0_client_initiated_bootstrap() -> None:
    world = _world()
    boot, one = world.start(BOOT, ONE)
    (request,) = boot.asked(codes.POST, "bs")
    assert request.query == ("ep=lamp-7", "pct=112")
    assert one.registers == []
    discover = boot.ask(Request(codes.GET, (), accept=content_formats.LINK_FORMAT))
    targets = {link.target: link.attributes for link in link_format.decode(discover.payload)}
    assert targets["/"] == {"lwm2m": "1.1"}
    assert targets["/0/0"] == {}
    assert _bootstrapped(world, boot) == ["2.04", "2.04", "2.04"]
    world.run(1)
    (register,) = one.registers
    assert "lt=86400" in register.query
    assert world.device.is_registered
    assert world.device.tree.get(ObjectPath(1, 0, 12)) is not None


def test_ets_1_2_an_account_with_keys_is_taken_over_and_shows_them_to_nobody() -> None:
    world = _world()
    boot, _ = world.start(BOOT, ONE)
    keys = {"/0/1/0": "coaps://one.example", "/0/1/2": 0, "/0/1/3": b"lamp-7", "/0/1/5": b"secret"}
    assert boot.ask(world.put("/0/1", _security(1) | keys)).code == codes.CHANGED
    boot.ask(world.put("/1/0", _server(0)))
    assert boot.ask(FINISH).code == codes.CHANGED
    account = world.device.account_at("coaps://one.example")
    assert account is not None
    assert (account.security_mode, account.identity, account.key) == (0, b"lamp-7", b"secret")
    shown = repr(account) + repr(world.recorded(DownlinkServed))
    assert "secret" not in shown


def test_ets_4_everything_but_the_bootstrap_account_is_deleted_and_provisioned_again() -> None:
    world = _world(BOOTSTRAP, FIRST)
    boot, one = world.start(BOOT, ONE)
    one.execute("/1/0/9")
    for path in ("0", "1"):
        assert boot.ask(Request(codes.DELETE, (path,))).code == codes.DELETED
    assert world.device.tree.instances_of(0) == [ObjectPath(0, 0)]
    assert world.device.tree.instances_of(1) == []
    _bootstrapped(world, boot)
    world.run(1)
    assert len(one.registers) == 2


def test_ets_5_the_bootstrap_trigger_sends_a_registered_device_to_its_bootstrap_server() -> None:
    world = _world(BOOTSTRAP, FIRST)
    boot, one = world.start(BOOT, ONE)
    assert boot.requests == []
    assert one.execute("/1/0/9") == "2.04"
    assert len(boot.asked(codes.POST, "bs")) == 1


def test_the_trigger_is_refused_without_a_bootstrap_account() -> None:
    (one,) = _world(FIRST).start(ONE)
    assert one.execute("/1/0/9") == "4.05"


def test_ets_6_a_factory_account_comes_before_the_bootstrap_server() -> None:
    boot, one = _world(BOOTSTRAP, FIRST).start(BOOT, ONE)
    assert boot.requests == []
    assert len(one.registers) == 1


def test_ets_7_a_factory_server_that_cannot_be_reached_leads_to_the_bootstrap_server() -> None:
    world = World([BOOTSTRAP, FIRST], values={"/1/0/17": 1})
    world.server(BOOT)
    world.start(BOOT)
    world.run(100)
    assert len(world.server(BOOT).asked(codes.POST, "bs")) == 1


def test_a_failure_does_not_lead_there_where_the_server_object_forbids_it() -> None:
    world = World([BOOTSTRAP, FIRST], values={"/1/0/16": False, "/1/0/17": 1})
    world.server(ONE).answer = lambda request: Response(codes.FORBIDDEN)
    boot, one = world.start(BOOT, ONE)
    world.run(10)
    assert len(one.registers) == 1
    assert boot.requests == []


def test_ets_8_the_bootstrap_server_reads_what_servers_may_not_change() -> None:
    world = _world()
    boot, _ = world.start(BOOT, ONE)
    boot.ask(world.put("/0/1", _security(1)))
    boot.ask(world.put("/1/0", _server(0)))
    control: dict[str, Value] = {"/2/0/0": 1, "/2/0/1": 0, "/2/0/2/101": 1, "/2/0/3": 65535}
    assert boot.ask(world.put("/2/0", control)).code == codes.CHANGED
    for path in ("1", "2"):
        assert boot.ask(Request(codes.GET, (path,))).code == codes.CONTENT
    assert codes.code_text(boot.ask(Request(codes.GET, ("3",))).code) == "4.05"


def test_ets_9_an_inconsistent_configuration_is_not_finished() -> None:
    world = _world()
    boot, one = world.start(BOOT, ONE)
    boot.ask(world.put("/0/1", _security(1)))
    assert codes.code_text(boot.ask(FINISH).code) == "4.06"
    world.run(1)
    assert one.registers == []
    boot.ask(world.put("/1/0", _server(0)))
    assert boot.ask(FINISH).code == codes.CHANGED
    world.run(1)
    assert len(one.registers) == 1


def test_ets_12_a_pack_bootstraps_in_one_answer() -> None:
    world = _world(lwm2m_version="1.2", bootstrap_pack=True)
    boot = world.server(BOOT)
    pack = world.encode("/", _security(1) | _server(0), content_formats.SENML_CBOR)
    boot.answer = lambda request: Response(codes.CONTENT, pack, content_formats.SENML_CBOR)
    _, one = world.start(BOOT, ONE)
    (request,) = boot.requests
    assert (request.code, request.path) == (codes.GET, ("bspack",))
    assert request.accept == content_formats.SENML_CBOR
    assert len(one.registers) == 1
    assert "lwm2m=1.2" in one.registers[0].query


@pytest.mark.parametrize("reason", ["refused", "nonsense", "inconsistent", "account"])
def test_a_pack_that_cannot_be_taken_leads_to_the_request(reason: str) -> None:
    world = _world(lwm2m_version="1.2", bootstrap_pack=True)
    boot = world.server(BOOT)
    bodies = {
        "refused": b"",
        "nonsense": b"\xff",
        "inconsistent": world.encode("/", _security(1), content_formats.SENML_CBOR),
        "account": world.encode("/", _security(0) | _server(0), content_formats.SENML_CBOR),
    }
    accept = boot.answer

    def answer(request: Request) -> Response | None:
        if request.path != ("bspack",):
            return accept(request)
        if reason == "refused":
            return Response(codes.NOT_IMPLEMENTED)
        return Response(codes.CONTENT, bodies[reason], content_formats.SENML_CBOR)

    boot.answer = answer
    before = dict(world.device.tree)
    world.start(BOOT)
    assert [each.path for each in boot.requests] == [("bspack",), ("bs",)]
    assert dict(world.device.tree) == before


def test_the_hold_off_time_counts_before_the_request() -> None:
    world = _world(ServerAccount(None, BOOT, hold_off_s=20))
    (boot,) = world.start(BOOT)
    world.run(18)
    assert boot.requests == []
    world.run(2)
    assert len(boot.requests) == 1


def test_a_bootstrap_without_finish_is_rolled_back_and_tried_again() -> None:
    world = _world(BOOTSTRAP, FIRST)
    boot, one = world.start(BOOT, ONE)
    before = {path: value for path, value in world.device.tree.items() if path.object_id < 3}
    one.execute("/1/0/9")
    boot.ask(Request(codes.DELETE, ("1",)))
    boot.ask(world.put("/1/3", _server(3, server=7)))
    world.run(246)
    assert world.device.tree.instances_of(1) == [ObjectPath(1, 3)]
    world.run(3)
    after = {path: value for path, value in world.device.tree.items() if path.object_id < 3}
    assert after == before
    assert len(boot.asked(codes.POST, "bs")) == 1
    world.run(10)
    assert len(boot.asked(codes.POST, "bs")) == 2


def test_the_bootstrap_account_is_purged_after_its_time() -> None:
    world = _world(ServerAccount(None, BOOT, account_timeout_s=30))
    boot, one = world.start(BOOT, ONE)
    _bootstrapped(world, boot)
    world.run(31)
    assert world.device.tree.instances_of(0) == [ObjectPath(0, 1)]
    assert one.execute("/1/0/9") == "4.05"
    assert codes.code_text(boot.ask(Request(codes.GET, ("1",))).code) == "4.01"


def test_a_bootstrap_server_may_begin_by_itself() -> None:
    world = _world(BOOTSTRAP, FIRST)
    boot, one = world.start(BOOT, ONE)
    assert boot.requests == []
    assert boot.ask(world.put("/1/0", _server(0, lifetime_s=1234))).code == codes.CHANGED
    assert boot.ask(FINISH).code == codes.CHANGED
    world.run(1)
    assert "lt=1234" in one.registers[-1].query


def test_a_device_moves_to_another_server_and_forgets_the_first() -> None:
    world = _world(BOOTSTRAP, FIRST)
    boot, one, two = world.start(BOOT, ONE, TWO)
    one.ask(Request(codes.GET, ("3", "0", "2"), observe=0))
    one.execute("/1/0/9")
    boot.ask(Request(codes.DELETE, ("0",)))
    boot.ask(Request(codes.DELETE, ("1",)))
    boot.ask(world.put("/0/5", _security(5, TWO, 102)))
    boot.ask(world.put("/1/5", _server(5, 102)))
    boot.ask(FINISH)
    world.run(1)
    assert len(two.registers) == 1
    assert two.read("/3/0/2") == b"SN-7"
    assert codes.code_text(one.ask(Request(codes.GET, ("3", "0"))).code) == "4.01"
    assert two.execute("/1/5/8") == "2.04"


def test_a_bootstrap_server_that_gives_an_alert_is_not_asked_again() -> None:
    world = _world()
    world.device.start(0, world.moment())
    (sent,) = world.device.take_actions()
    world.device.exchange_failed(sent, world.moment(), alert=48)  # type: ignore[arg-type]  # it is a SendRequest
    assert world.device.next_timer() is None


def test_a_server_without_an_account_is_asked_again_after_a_pause() -> None:
    world = _world(register_retry_s=4.0)
    boot = world.server(BOOT)
    boot.answer = lambda request: Response(codes.BAD_REQUEST)
    world.start(BOOT)
    world.run(5)
    assert len(boot.requests) == 2
