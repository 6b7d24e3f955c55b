"""`lamplighter up --simulate`: which devices are simulated, and that they come in as any others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from rich.console import Console

from fake_devices.device import DeviceSettings
from harness.errors import ScenarioError
from harness.runner.cohort import DEFAULT_DEVICES, choose
from harness.runner.keep_up import UpOptions, keep_up
from harness.runner.simulate import (
    Simulation,
    chosen,
    connected_line,
    simulation_of,
    wanted_devices,
)
from runtime.http_client import HttpClient
from tests.harness.commands_beside import Command
from tests.processes import WITHIN_S

ROWS = choose(None, DEFAULT_DEVICES, seed=1).rows
DAY_S = 86_400.0


def test_all_of_a_city_are_simulated_when_as_many_are_asked_for() -> None:
    assert chosen(Simulation(devices=len(ROWS)), ROWS) == list(ROWS)


def test_a_few_are_spread_over_the_city_and_its_models() -> None:
    few = chosen(Simulation(devices=20), ROWS)
    assert len({row.endpoint for row in few}) == 20
    assert {row.model for row in few} == {row.model for row in ROWS}


def test_of_one_model_none_of_another_is_simulated() -> None:
    bins = chosen(Simulation(devices=7, model="waste_bin"), ROWS)
    assert [row.model for row in bins] == ["waste_bin"] * 7


@pytest.mark.parametrize("model", [None, "waste_bin"])
def test_more_than_there_are_is_refused_with_what_to_do(model: str | None) -> None:
    with pytest.raises(ScenarioError, match=r"the manifest has \d+ .*--devices"):
        chosen(Simulation(devices=len(ROWS) + 1, model=model), ROWS)


def test_a_device_of_a_model_that_nobody_simulates_is_left_to_its_owner() -> None:
    strange = [msgspec.structs.replace(row, model="fog_horn") for row in ROWS[:10]]
    left = chosen(Simulation(devices=5), [*strange, *ROWS[10:15]])
    assert left == list(ROWS[10:15])


def test_enough_devices_are_provisioned_unless_the_user_says_how_many() -> None:
    many = Simulation(devices=DEFAULT_DEVICES + 300)
    assert wanted_devices(many, None, own=False) == many.devices
    assert wanted_devices(Simulation(devices=3), None, own=False) == DEFAULT_DEVICES
    assert wanted_devices(many, 10, own=False) == 10
    assert wanted_devices(many, None, own=True) is None
    assert wanted_devices(None, None, own=False) is None


def test_many_devices_come_faster_and_report_less_often_than_few() -> None:
    few, many = Simulation(devices=10), Simulation(devices=6_000)
    assert (few.interval_s, few.rate_per_s) == (5.0, 20.0)
    assert (many.interval_s, many.rate_per_s) == (120.0, 100.0)
    assert Simulation(devices=6_000, report_every_s=2.0).interval_s == 2.0


@pytest.mark.parametrize("speed", [1.0, 60.0, 3_600.0])
def test_city_time_begins_now_and_goes_at_the_wanted_speed(speed: float) -> None:
    now_s = 1_795_000_000.0
    wanted = Simulation(devices=1, speed=speed).fleet_settings(now_s)
    wanted.pop("journal_file")  # of the fleet, not of its devices
    settings = msgspec.convert(wanted, DeviceSettings)
    assert settings.city_s(round(now_s * 1e6)) == pytest.approx(now_s, abs=1.0)
    later_s = now_s + DAY_S / speed
    assert settings.city_s(round(later_s * 1e6)) == pytest.approx(now_s + DAY_S, abs=1.0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((0, None, None, None), "--simulate 0"),
        ((-5, None, None, None), "--simulate -5"),
        ((1, "lamp", None, None), "--model lamp: choose one of street_lamp"),
        ((1, None, 0.0, None), "--report-every 0"),
        ((1, None, None, 0.5), "--speed 0.5: choose 1 to 3,600"),
        ((1, None, None, float("nan")), "--speed nan"),
        ((None, "street_lamp", None, None), "--model is of simulated devices.*--simulate N"),
        ((None, None, 2.0, None), "--report-every is of simulated devices"),
        ((None, None, None, 1.0), "--speed is of simulated devices"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_its_option(given: Any, named: str) -> None:
    with pytest.raises(ScenarioError, match=named):
        simulation_of(*given)


def test_without_the_option_nothing_is_simulated() -> None:
    assert simulation_of(None, None, None, None) is None


def test_who_is_not_there_yet_is_told_of() -> None:
    five = Simulation(devices=5)
    assert connected_line(five, 5).startswith("All 5 simulated devices are connected.")
    assert connected_line(five, 3).startswith("3 of 5 simulated devices are connected;")
    assert connected_line(Simulation(devices=1), 1).startswith("The simulated device is connected.")


def up(tmp_path: Path, console: Console) -> Coroutine[Any, Any, None]:
    """Six devices, four of them simulated, with a key each."""
    options = UpOptions(
        devices=6,
        out=tmp_path / "out",
        state=tmp_path / "state",
        simulation=Simulation(devices=4, report_every_s=0.5, speed=60.0),
    )
    return keep_up(options, console)


async def ask(address: str, token: str, path: str) -> Any:
    async with HttpClient(address, token) as client:
        return await client.get(path, dict)


@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.timeout(600)
def test_simulated_devices_come_online_report_and_do_what_they_are_told(tmp_path: Path) -> None:
    def token(role: str) -> str:
        return (tmp_path / "state" / "operator_tokens" / role).read_text().strip()

    async def story() -> None:
        async with Command(lambda console: up(tmp_path, console)) as bench:
            ingestion = (await bench.until(r"ingestion +http://(\S+)"))[1]
            control = (await bench.until("LAMPLIGHTER_CONTROL=([0-9.:]+)"))[1]
            lamp = (await bench.until("command send (lamp-[0-9]+) write"))[1]
            # Whose key is printed is nobody that is simulated.
            free = (await bench.until("lamplighter device --endpoint ([a-z0-9-]+)"))[1]
            await bench.until("All 4 simulated devices are connected")
            async with asyncio.timeout(WITHIN_S):
                while True:
                    states = await ask(ingestion, token("analyst"), "/v1/states")
                    online = {row[0] for row in states["states"] if row[2] == "online"}
                    if len(online) == 4:
                        break
                    await asyncio.sleep(0.05)
            assert lamp in online
            assert free not in online
            async with HttpClient(control, token("controller")) as client:
                asked = b'{"operation": "write", "path": "/3416/0/1", "value": 40}'
                record = await client.send("POST", f"/v1/devices/{lamp}/commands", asked, dict)
                async with asyncio.timeout(WITHIN_S):
                    while record["state"] not in ("succeeded", "refused", "expired", "unknown"):
                        await asyncio.sleep(0.05)
                        record = await client.get(f"/v1/commands/{record['id']}", dict)
            assert record["state"] == "succeeded", record

    uvloop.run(story())
    # They leave no journal, which would grow as long as they are up.
    assert list((tmp_path / "out" / "up" / "journal").iterdir()) == []


def test_more_than_the_users_own_manifest_has_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    manifest = tmp_path / "few.csv"
    manifest.write_bytes(choose(None, 3, seed=1).manifest)
    options = UpOptions(manifest=manifest, out=tmp_path, simulation=Simulation(devices=4))
    with pytest.raises(ScenarioError, match="the manifest has 3 devices"):
        uvloop.run(keep_up(options, Console(file=io.StringIO())))
    assert not (tmp_path / "up").exists()
