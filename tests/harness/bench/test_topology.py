"""Benches with several servers: names, configurations, and whose device is whose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.bench import configs, topology
from harness.bench.bench import BenchPlan
from harness.errors import ScenarioError
from harness.runner.scenario import RunOptions, find_scenario, sized

ADDRESSES = {
    "mqtt": "127.0.0.1:1",
    "data": "127.0.0.1:2",
    "identity": "127.0.0.1:3",
    "audit": "127.0.0.1:4",
}


def plan(folder: Path, servers: int, **more: object) -> BenchPlan:
    return BenchPlan(output_dir=folder, state_dir=folder, servers=servers, **more)  # type: ignore[arg-type]  # by name


def test_one_server_has_the_names_that_it_always_had(tmp_path: Path) -> None:
    (pair,) = topology.pairs(plan(tmp_path, 1))
    assert pair == topology.Pair(0, "server-1", "server", "bridge")
    assert not {"server-2", "bridge-2"} & set(configs.processes(plan(tmp_path, 1)))


def test_each_further_server_has_a_bridge_a_name_and_processes(tmp_path: Path) -> None:
    three = plan(tmp_path, 3)
    assert [pair.server for pair in topology.pairs(three)] == ["server-1", "server-2", "server-3"]
    names = list(configs.processes(three))
    assert [name for name in names if name.startswith(("server", "bridge"))] == [
        "server", "bridge", "server-2", "bridge-2", "server-3", "bridge-3",
    ]  # fmt: skip
    assert names[-1] == "fleet"


def test_without_a_platform_there_are_no_bridges(tmp_path: Path) -> None:
    alone = configs.processes(plan(tmp_path, 2, with_platform=False))
    assert set(alone) == {"server", "server-2", "fleet"}


def test_every_pair_is_configured_under_its_own_name(tmp_path: Path) -> None:
    two = plan(tmp_path, 2, ports={"coap": 5683, "data": 9000}, security="none")
    first, second = topology.pairs(two)
    servers = [configs.server(two, pair) for pair in (first, second)]
    assert [one["server"] for one in servers] == ["server-1", "server-2"]
    # Ports are the first's; two cannot have the same.
    assert [one["coap"]["port"] for one in servers] == [5683, 0]
    assert servers[0]["state_dir"] != servers[1]["state_dir"]
    assert servers[0]["journal_file"] != servers[1]["journal_file"]
    bridge = configs.bridge(two, ADDRESSES, second)
    assert bridge["server"] == "server-2"
    assert bridge["broker"]["certificate_file"].endswith("svc_bridge_server-2.pem")
    assert configs.broker(two)["servers"] == ["server-1", "server-2"]
    services = configs.provisioning(two, ADDRESSES)["services"]
    assert {"svc:bridge:server-1", "svc:bridge:server-2"} <= set(services)


def test_devices_spread_over_all_servers_and_stay_where_they_are(tmp_path: Path) -> None:
    four = plan(tmp_path, 4)
    endpoints = [f"lamp-{number:04d}" for number in range(400)]
    homes = Counter(topology.home_of(four, endpoint) for endpoint in endpoints)
    assert set(homes) == {0, 1, 2, 3}
    assert max(homes.values()) < 2 * min(homes.values())
    assert [topology.home_of(four, endpoint) for endpoint in endpoints[:3]] == [
        topology.home_of(four, endpoint) for endpoint in endpoints[:3]
    ]


@pytest.mark.parametrize("servers", [0, 17])
def test_a_number_of_servers_that_cannot_be_is_refused(servers: int) -> None:
    with pytest.raises(ScenarioError, match="choose 1 to 16"):
        RunOptions(servers=servers)


def test_a_scenario_without_a_platform_has_one_server() -> None:
    scenario = find_scenario("scale.ten_thousand_lamps_register")
    with pytest.raises(ScenarioError, match="has one server"):
        sized(RunOptions(servers=2), scenario)
    assert sized(RunOptions(), scenario).servers == 1


def test_the_users_number_of_servers_wins_over_the_scenarios() -> None:
    scenario = find_scenario("scale.four_bridges_share_the_city")
    assert sized(RunOptions(), scenario).servers == 4
    assert sized(RunOptions(servers=2), scenario).servers == 2
