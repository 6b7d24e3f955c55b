"""What is no operation is told with what would be one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.harness.lwm2m_server.test_live import make_config, served
from tests.harness.lwm2m_server.test_live_security import administering


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"operation": "raed"}, ["'raed'", "choose one of read, ", "write_attributes"]),
        ({"mode": "append"}, ["'append'", "choose one of replace, update"]),
        (
            {"values": [{"path": "/3/0/14", "type": "txt", "value": "+02"}]},
            ["'txt'", "choose one of ", "string", "objlnk"],
        ),
        (
            {"operation": "write_attributes", "attributes": {"pmax": "60", "pmin": 10}},
            ["attributes: 'pmin' has to be text", '{"pmin": "10"}'],
        ),
        ({"wait_s": "long"}, ["Expected `float`", "$.wait_s"]),
    ],
)
def test_a_wrong_field_is_told_with_what_it_may_be(
    changed: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    async def story() -> None:
        async with served(make_config(tmp_path)) as addresses, administering(addresses) as client:
            asked = {"endpoint": "lamp-1", "operation": "read", "path": "/3/0", **changed}
            answer = await client.post("/v1/operations", json=asked)
            assert answer.status_code == 400
            for text in told:
                assert text in answer.json()["detail"]

    asyncio.run(story())


def test_an_operation_on_a_device_that_is_not_here_says_so_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(make_config(tmp_path)) as addresses, administering(addresses) as client:
            asked = {"endpoint": "nobody", "operation": "read", "path": "/3/0"}
            answer = (await client.post("/v1/operations", json=asked)).json()
            assert answer["error"]["stage"] == "not_registered"
            assert "does not hold the device" in answer["error"]["detail"]

    asyncio.run(story())
