"""What a device may answer when it is to create several instances at once."""

from __future__ import annotations

from pathlib import Path

from contracts.data_interface import Value
from lwm2m.coap import Response, codes
from tests.harness.lwm2m_server.test_every_operation import onboarded


def test_an_answer_that_names_one_of_several_instances_is_no_success(tmp_path: Path) -> None:
    world, bridge, device, _ = onboarded(tmp_path)
    values = [Value(f"/16/{number}/0/0", "string", "new") for number in (1, 2)]
    for number, location in enumerate([(), ("16", "1")]):
        answer = Response(codes.CREATED, location_path=location)
        device.answer = lambda request, answer=answer: answer
        bridge.send(world.command(f"c{number}", "lamp-1", "create", "/16", values=values))
        world.run_for(1)
    outcomes = bridge.outcomes()
    assert outcomes["c0"].succeeded
    assert outcomes["c0"].remark is None
    assert outcomes["c1"].is_unreadable
    assert "names one instance" in outcomes["c1"].error.detail
