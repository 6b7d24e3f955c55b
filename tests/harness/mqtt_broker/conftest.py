"""One broker of each kind for all tests of a run, and a PKI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.mqtt_broker.mosquitto import find_mosquitto
from tests.harness.mqtt_broker.world import Authority, Target, broker_process

# What a broker is known not to do: docs/design/broker.md has the same list, and
# `test_the_page_lists_the_known_differences` compares. Strict: mended behaviour fails here.
KNOWN_DIFFERENCES: dict[str, dict[str, str]] = {
    "amqtt": {},
    "mosquitto": {},
}


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "ours", "ca of this test")


@pytest.fixture(scope="session")
def other_pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "theirs", "ca of this test")


@pytest.fixture(
    scope="session",
    params=[
        "embedded",
        pytest.param("mosquitto", marks=pytest.mark.mosquitto),
        pytest.param("amqtt", marks=pytest.mark.amqtt),
    ],
)
def _running(
    request: Any, pki: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    kind = request.param
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no mosquitto on this machine")
    with broker_process(
        pki,
        tmp_path_factory.mktemp(kind),
        kind,
        limits={"packet_bytes_max": 65_536, "connect_within_s": 1.0},
        servers=[f"s{number}" for number in range(1, 200)],
    ) as broker:
        yield Target(kind, broker, pki)


@pytest.fixture
def target(_running: Target, request: pytest.FixtureRequest) -> Target:
    name = getattr(request.node, "originalname", request.node.name)
    reason = KNOWN_DIFFERENCES.get(_running.kind, {}).get(name)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return _running
