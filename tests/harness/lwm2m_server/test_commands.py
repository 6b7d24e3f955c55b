"""Commands from frame to outcome: operations, order, bounds, expiry, secrets."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from contracts.data_interface import Completes, Holder, ObjectLink, Result, Value
from contracts.journal import CommandEnded, CommandReceived, CommandSent, DeviceBootstrapped
from harness.lwm2m_server.commands import TRANSITIONS, CommandEntry, CommandEvent, CommandState
from harness.lwm2m_server.config import Defect, ServerLimits
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World


def onboarded(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world = World(tmp_path, **options)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    return world, bridge, device


def test_a_write_replaces_and_its_outcome_is_an_event(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    (event,) = bridge.events("result")
    assert event.endpoint == "lamp-1"
    assert event.result is not None
    assert (event.result.id, event.result.code, event.result.error) == ("c1", "2.04", None)
    (done,) = device.done
    assert done[:2] == (codes.PUT, "/3416/0/1")
    sent = world.observed.of(CommandSent)
    assert [record.message_id for record in sent] == [done[3]]
    assert [record.code for record in world.observed.of(CommandEnded)] == ["2.04"]
    assert [record.repeated for record in world.observed.of(CommandReceived)] == [False]


@pytest.mark.parametrize(
    ("operation", "fields", "code", "path", "content_format"),
    [
        ("write", {"path": "/3416/0/1"}, codes.PUT, "/3416/0/1", 112),
        ("write", {"path": "/3416/0/1", "format": 0}, codes.PUT, "/3416/0/1", 0),
        ("write", {"path": "/3416/0/1", "format": 11542}, codes.PUT, "/3416/0/1", 11542),
        ("write", {"path": "/3416/0/1", "mode": "update"}, codes.POST, "/3416/0", 112),
        ("execute", {"path": "/3/0/4"}, codes.POST, "/3/0/4", None),
        ("execute", {"path": "/3/0/4", "arguments": "0='x'"}, codes.POST, "/3/0/4", 0),
        ("delete", {"path": "/18831/2"}, codes.DELETE, "/18831/2", None),
        ("read", {"path": "/3/0/9"}, codes.GET, "/3/0/9", None),
        ("discover", {"path": "/3/0"}, codes.GET, "/3/0", None),
    ],
)
def test_each_operation_is_the_request_that_the_standard_names(
    tmp_path: Path,
    operation: Any,
    fields: dict[str, Any],
    code: int,
    path: str,
    content_format: int | None,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    seen: list[Request] = []

    def answer(request: Request) -> Response:
        seen.append(request)
        if request.code == codes.GET:
            return Response(codes.CONTENT, b"", 40 if operation == "discover" else 112)
        return Response({codes.DELETE: codes.DELETED}.get(request.code, codes.CHANGED))

    device.answer = answer
    bridge.send(world.command("c1", "lamp-1", operation, **fields))
    world.run_for(1)
    (request,) = seen
    assert (request.code, "/" + "/".join(request.path)) == (code, path)
    assert request.content_format == content_format
    assert request.accept == {"read": 112, "discover": 40}.get(operation)


def test_create_goes_to_the_object_and_tells_where_the_instance_is(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CREATED, location_path=("18831", "3"))
    values = [Value("/18831/3/2", "string", "devices/lamp-1/state")]
    bridge.send(world.command("c1", "lamp-1", "create", "/18831", values=values))
    world.run_for(1)
    assert device.done[0][:2] == (codes.POST, "/18831")
    assert bridge.outcomes()["c1"].location == "/18831/3"
    assert bridge.outcomes()["c1"].code == "2.01"


def test_lwm2m_1_0_devices_get_tlv(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path)
    old = world.device("old")
    old.send(
        Request(codes.POST, ("rd",), ("ep=old", "lt=60", "lwm2m=1.0"), 40, None, None, b"</3/0>")
    )
    world.run_for(1)
    seen: list[int | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.content_format if request.payload else request.accept)
        return Response(codes.CHANGED if request.payload else codes.NOT_FOUND)

    old.answer = answer
    bridge.send(world.command("c1", "old"))
    bridge.send(world.command("c2", "old", "read", "/3/0"))
    world.run_for(1)
    assert seen == [content_formats.TLV, content_formats.TLV]


def test_what_was_read_comes_typed(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    nodes = [
        Node(ObjectPath(3, 0, 0), "Lamplighter"),
        Node(ObjectPath(3, 0, 9), 87),
        Node(ObjectPath(3, 0, 13), 1_767_225_600),
    ]
    payload = encode_payload(112, ObjectPath(3, 0), nodes, MODELS)
    device.answer = lambda request: Response(codes.CONTENT, payload, 112)
    bridge.send(world.command("c1", "lamp-1", "read", "/3/0"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].values == [
        Value("/3/0/0", "string", "Lamplighter"),
        Value("/3/0/9", "integer", 87),
        Value("/3/0/13", "time", 1_767_225_600),
    ]


def test_a_read_in_plain_text_is_typed_by_the_object(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"87", 0)
    bridge.send(world.command("c1", "lamp-1", "read", "/3/0/9", format=0))
    world.run_for(1)
    assert bridge.outcomes()["c1"].values == [Value("/3/0/9", "integer", 87)]


def test_discovered_links_come_with_their_attributes(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.CONTENT, b"</3/0>;pmin=10,</3/0/9>", 40)
    bridge.send(world.command("c1", "lamp-1", "discover", "/3/0"))
    world.run_for(1)
    links = [ObjectLink("/3/0", {"pmin": "10"}), ObjectLink("/3/0/9")]
    assert bridge.outcomes()["c1"].links == links


@pytest.mark.parametrize(
    ("response", "stage", "detail"),
    [
        (Response(codes.NOT_FOUND), "coap", "refused by the device"),
        (Response(codes.BAD_REQUEST, b"no such colour"), "coap", "no such colour"),
        (Response(codes.CREATED), "coap", "2.01 is not an answer to read"),
        (Response(codes.CONTENT, b"\xff\xff", 112), "coap", "cannot be read"),
        (Response(codes.CONTENT, b"x", 50), "coap", "cannot be read"),
    ],
)
def test_an_answer_that_is_no_success_is_refused_with_its_code(
    tmp_path: Path, response: Response, stage: str, detail: str
) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: response
    bridge.send(world.command("c1", "lamp-1", "read", "/3/0/9"))
    world.run_for(1)
    outcome = bridge.outcomes()["c1"]
    assert outcome.error.stage == stage
    assert detail in outcome.error.detail
    assert outcome.code == codes.code_text(response.code)
    assert not outcome.succeeded


@pytest.mark.parametrize(
    ("operation", "path", "fields", "detail"),
    [
        ("cancel_observation", "/3/0/9", {}, "nothing of the sort is observed"),
        ("observe", "/3/0/9", {"attributes": {"pmin": "1"}}, "of LwM2M 1.2"),
        ("write_attributes", "/3/0/9", {}, "needs attributes"),
        ("write_attributes", "/3/0/9", {"attributes": {"colour": "1"}}, "no attribute"),
        ("read_composite", None, {}, "needs 1 to 128 paths"),
        ("read_composite", None, {"paths": ["3/0"]}, "does not begin with a slash"),
        ("write_composite", None, {}, "needs values"),
        ("write_composite", None, {"paths": ["/3/0"]}, "no resource instance"),
        ("discover", "/3/0", {"depth": 1}, "of LwM2M 1.2"),
        ("delete", "/3/0/11/0", {}, "of LwM2M 1.2"),
        ("execute", "/3/0/4", {"arguments": "1,1"}, "digits that differ"),
        ("execute", "/3/0/4", {"arguments": "reboot"}, "digits that differ"),
        ("read", None, {}, "does not begin with a slash"),
        ("read", "3/0", {}, "does not begin with a slash"),
        ("read", "/3/0/1/2/3", {}, "levels"),
        ("write", "/3416/0/1", {"values": []}, "needs values"),
        ("write", "/3416", {}, "needs an object instance"),
        ("write", "/3416/0/1", {"values": [Value("/3/0/1", "string", "x")]}, "does not lie"),
        ("write", "/3416/0/1", {"values": [Value("/3416/0/1", "string", "x")]}, "is integer"),
        ("write", "/3416/0/1", {"values": [Value("/3416/0/1", "integer", 101)]}, "0 to 100"),
        ("write", "/3416/0/1", {"values": [Value("/3416/0/1", "integer", "ten")]}, "not a number"),
        ("write", "/3416/0/1", {"format": 99}, "99 cannot be"),
        ("execute", "/3/0", {}, "needs a resource"),
        ("create", "/3/0/1", {}, "needs an object"),
        ("create", "/18831", {}, "needs values"),
        ("delete", "/3", {}, "needs an object instance"),
        ("discover", "/3/0/1/2", {}, "ends at a resource"),
    ],
)
def test_what_cannot_be_a_request_is_invalid_and_nothing_is_sent(
    tmp_path: Path, operation: Any, path: Any, fields: dict[str, Any], detail: str
) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1", operation, path, **fields))
    world.run_for(1)
    outcome = bridge.outcomes()["c1"]
    assert outcome.error.stage == "invalid"
    assert detail in outcome.error.detail
    assert device.done == []


def test_commands_of_a_device_go_out_one_at_a_time_and_in_order(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    for number in range(5):
        value = [Value("/3416/0/1", "integer", number)]
        bridge.send(world.command(f"c{number}", "lamp-1", values=value, format=0))
    world.settle()
    assert len(world.observed.of(CommandSent)) == 1
    world.run_for(1)
    assert [payload for _, _, payload, _ in device.done] == [b"0", b"1", b"2", b"3", b"4"]
    assert list(bridge.outcomes()) == [f"c{number}" for number in range(5)]


def test_a_device_that_never_answers_is_given_up_after_coaps_limits_and_unknown(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.send(Request(codes.POST, ("rd",), ("ep=lamp-1", "lt=600"), 40, None, None, b"</3/0>"))
    world.run_for(1)
    world.devices.clear()
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(100)
    outcome = bridge.outcomes()["c1"]
    assert outcome.error.stage == "timeout"
    assert outcome.code is None
    assert [record.stage for record in world.observed.of(CommandEnded)] == ["timeout"]


def test_a_repeated_id_is_answered_from_the_store_and_sent_once(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    command = world.command("c1", "lamp-1", "execute", "/3/0/4")
    bridge.send(command)
    bridge.send(command)
    world.run_for(1)
    bridge.send(command)
    world.settle()
    assert len(device.done) == 1
    assert len(bridge.events("result")) == 1
    (repeated,) = bridge.of(Result)
    assert repeated.result == bridge.events("result")[0].result
    received = world.observed.of(CommandReceived)
    assert [record.repeated for record in received] == [False, True, True]


def test_commands_for_devices_that_are_not_held_are_told_so(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "ghost"))
    stale = Holder("s1", "another-registration")
    bridge.send(world.command("c2", "lamp-1", holder=stale))
    bridge.send(world.command("c3", "lamp-1", holder=Holder("s2", device.location[1])))
    bridge.send(world.command("c4", "lamp-1", holder=Holder("s1", device.location[1])))
    world.run_for(1)
    outcomes = bridge.outcomes()
    assert [outcomes[name].error.stage for name in ("c1", "c2", "c3")] == ["not_registered"] * 3
    assert outcomes["c4"].succeeded


def test_an_expired_command_is_not_sent(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1", expires_in_s=-1))
    world.run_for(1)
    assert bridge.outcomes()["c1"].error.stage == "expired"
    assert device.done == []


def test_a_command_expires_while_it_waits(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answers = False
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1", expires_in_s=5))
    bridge.send(world.command("c3", "lamp-1", expires_in_s=5))
    world.run_for(6)
    outcomes = bridge.outcomes()
    assert {name: outcome.error.stage for name, outcome in outcomes.items()} == {
        "c2": "expired",
        "c3": "expired",
    }


def test_cancelling_takes_back_what_has_not_been_sent(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1"))
    bridge.send(world.cancel("c1"))
    bridge.send(world.cancel("c2"))
    bridge.send(world.cancel("c3"))
    world.run_for(1)
    bridge.send(world.cancel("c1"))
    world.settle()
    outcomes = bridge.outcomes()
    assert outcomes["c1"].succeeded
    assert outcomes["c2"].error.stage == "cancelled"
    assert [(error.id, error.detail) for error in bridge.errors()] == [
        ("c1", "it has been sent: wait for its outcome"),
        ("c3", "no such command"),
    ]
    assert [frame.result.id for frame in bridge.of(Result)] == ["c1"]
    assert len(device.done) == 1


def test_full_queues_are_refused_with_an_error_frame_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    limits = ServerLimits(commands_per_device_max=2, commands_queued_max=4, outcomes_kept_max=6)
    world, bridge, _ = onboarded(tmp_path, limits=limits)
    other = world.device("lamp-2")
    other.register()
    world.run_for(1)
    for number in range(4):
        bridge.send(world.command(f"a{number}", "lamp-1"))
    for number in range(2):
        bridge.send(world.command(f"b{number}", "lamp-2"))
    world.settle()
    assert [(error.id, error.detail) for error in bridge.errors()] == [
        ("a3", "full: 2 commands wait for this device"),
        ("b1", "full: 4 commands have no outcome yet"),
    ]
    world.run_for(1)
    bridge.send(world.command("a3", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["a3"].succeeded
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1"))
    world.run_for(1)
    assert bridge.errors()[-1].detail == "full: 6 outcomes are kept until they expire"
    world.run_for(700)
    assert world.core.counters()["commands_kept"] == 0


def test_ids_and_names_that_could_not_be_told_on_are_refused(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path)
    bridge.send(world.command("", "lamp-1"))
    bridge.send(world.command("x" * 129, "lamp-1"))
    bridge.send(world.command("c1", "a/b"))
    bridge.send(world.command("c2", "lamp-1", expires_in_s=100_000))
    world.settle()
    assert len(bridge.errors()) == 4
    assert bridge.outcomes() == {}


def test_queued_commands_of_a_device_that_leaves_are_not_registered(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answers = False
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1"))
    world.run_for(1)
    device.deregister()
    world.run_for(1)
    outcomes = bridge.outcomes()
    assert outcomes["c1"].error.stage == "unknown"
    assert outcomes["c2"].error.stage == "not_registered"


def test_a_device_that_registers_anew_is_not_sent_the_execute_again(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answers = False
    bridge.send(world.command("c1", "lamp-1", "execute", "/3/0/4"))
    world.run_for(0.5)
    assert len(device.done) == 1
    del world.devices[device.address]
    rebooted = world.device("lamp-1", number=0)
    rebooted.register()
    world.run_for(120)
    assert bridge.outcomes()["c1"].error.stage == "unknown"
    assert rebooted.done == []


def test_credentials_complete_a_bootstrap_and_leave_no_secret_anywhere(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    secret = bytes(range(64, 128)) * 30  # more than a block
    values = [
        Value("/18830/0/0", "string", "mqtts://127.0.0.1:8883"),
        Value("/18830/0/9", "opaque", base64.b64encode(secret).decode()),
    ]
    bridge.send(
        world.command("c1", "lamp-1", "create", "/18830", values=values, issued_by="credentials")
    )
    active = [Value("/18831/0/5", "boolean", True)]
    bridge.send(
        world.command(
            "c2",
            "lamp-1",
            path="/18831/0/5",
            values=active,
            issued_by="credentials",
            completes=Completes("credentials", "0123456789abcdef"),
        )
    )
    world.run_for(2)
    assert bridge.outcomes()["c1"].code == "2.01"
    assert secret[:1000] in device.done[0][2]
    (event,) = bridge.events("bootstrap")
    assert event.completed == Completes("credentials", "0123456789abcdef")
    assert event.registration_id == device.location[1]
    (record,) = world.observed.of(DeviceBootstrapped)
    assert (record.endpoint, record.version) == ("lamp-1", "0123456789abcdef")
    kept = world.log_bytes() + repr(world.observed.records).encode()
    world.restart()
    kept += world.log_bytes()
    for form in (secret[:16], base64.b64encode(secret)[:40]):
        assert form not in kept
    assert b"/18830/0/0" not in kept


def test_values_of_secret_resources_are_never_told(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    nodes = [
        Node(ObjectPath(18830, 0, 0), "mqtts://broker"),
        Node(ObjectPath(18830, 0, 9), b"very secret"),
    ]
    payload = encode_payload(112, ObjectPath(18830, 0), nodes, MODELS)
    device.answer = lambda request: Response(codes.CONTENT, payload, 112)
    bridge.send(world.command("c1", "lamp-1", "read", "/18830/0"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].values == [Value("/18830/0/0", "string", "mqtts://broker")]
    assert base64.b64encode(b"very secret") not in world.log_bytes()


def test_a_refusal_of_secrets_does_not_repeat_what_the_device_says(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: Response(codes.BAD_REQUEST, b"bad: hunter2")
    values = [Value("/18830/0/5", "opaque", base64.b64encode(b"hunter2").decode())]
    bridge.send(world.command("c1", "lamp-1", path="/18830/0/5", values=values, format=42))
    world.run_for(1)
    assert bridge.outcomes()["c1"].error.detail == "refused by the device"
    assert b"hunter2" not in world.log_bytes()


def test_swapped_credentials_go_to_the_other_device(tmp_path: Path) -> None:
    world = World(tmp_path, defect=Defect("swap_credentials", ("a", "b")))
    bridge = world.bridge()
    devices = {name: world.device(name) for name in ("a", "b", "c")}
    for name in ("a", "c"):
        devices[name].register()
    world.run_for(1)
    for name in ("a", "c"):
        values = [Value("/18830/0/1", "string", name)]
        bridge.send(
            world.command(name, name, path="/18830/0/1", values=values, format=0)
            if name == "c"
            else world.command(
                name, name, path="/18830/0/1", values=values, format=0, issued_by="credentials"
            )
        )
    world.run_for(1)
    assert [payload for *_, payload, _ in devices["c"].done] == [b"c"]
    assert devices["a"].done == []
    devices["b"].register()
    world.run_for(1)
    values = [Value("/18830/0/1", "string", "b")]
    bridge.send(
        world.command("b", "b", path="/18830/0/1", values=values, format=0, issued_by="credentials")
    )
    world.run_for(1)
    assert [payload for *_, payload, _ in devices["b"].done] == [b"a"]
    assert [payload for *_, payload, _ in devices["a"].done] == [b"b"]
    assert bridge.outcomes()["a"].succeeded
    assert bridge.outcomes()["b"].succeeded


def test_every_cell_of_the_command_table_is_walked(tmp_path: Path) -> None:
    command = World(tmp_path).command("c1", "lamp-1")
    for state in CommandState:
        for event in CommandEvent:
            entry = CommandEntry(command, secret=False)
            entry.state = state
            if event in TRANSITIONS[state]:
                entry.move(event)
                assert entry.state is TRANSITIONS[state][event]
            else:
                with pytest.raises(KeyError):
                    entry.move(event)
