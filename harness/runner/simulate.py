"""The simulated devices of `lamplighter up --simulate`: which, and how they come online."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console

from contracts.manifest import ManifestRow
from fake_devices.city import district
from fake_devices.devices import MODELS
from harness.bench import configs
from harness.bench.bench import Bench
from harness.errors import ScenarioError
from harness.runner.cohort import DEFAULT_DEVICES
from harness.runner.live import Live, NotReached
from harness.runner.scenario import RunOptions

# A dashboard that is looked at, not a measurement: what two cores do beside a browser.
REPORT_EVERY_S: Final = 5.0
PACKS_PER_S: Final = 50.0
DEVICES_PER_S: Final = 20.0
# More of them come faster: nobody waits much longer than a minute for the last.
ALL_ON_WITHIN_S: Final = 60.0
# As long as a device that has to register again takes.
PATIENCE_S: Final = 60.0
SPEED_MAX: Final = 3_600.0
# As for the cohort of a bench that is kept up.
SEED: Final = 1


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose about the simulated devices."""

    devices: int
    model: str | None = None
    """Only devices of this model; None: as they come."""
    report_every_s: float | None = None
    """Seconds between two packs of a device; None: 5, or more where there are many devices."""
    speed: float = 1.0
    """Seconds of the city in one second: by 60, a lamp's night comes in less than half an hour."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated. Raises `ScenarioError`."""
        if self.devices < 1:
            raise ScenarioError(f"--simulate {self.devices}: choose 1 or more")
        if self.model is not None and self.model not in MODELS:
            raise ScenarioError(f"--model {self.model}: choose one of {', '.join(MODELS)}")
        if not 1.0 <= self.speed <= SPEED_MAX:
            raise ScenarioError(f"--speed {self.speed:g}: choose 1 to {SPEED_MAX:,.0f}")
        # Says itself what is wrong with it.
        RunOptions(report_every_s=self.report_every_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two packs of a device."""
        return self.report_every_s or max(REPORT_EVERY_S, self.devices / PACKS_PER_S)

    @property
    def rate_per_s(self) -> float:
        """Devices switched on per second."""
        return max(DEVICES_PER_S, self.devices / ALL_ON_WITHIN_S)

    def fleet_settings(self, unix_s: float) -> dict[str, Any]:
        """Further fields of the fleet's configuration, for one that begins at this Unix time.

        Nothing judges these devices: they keep no journal, which would grow as long as they are up.
        """
        return {
            "journal_file": None,
            "city_speed": self.speed,
            # City time is Unix time at the beginning, whatever the speed.
            "city_offset_s": unix_s * (1.0 - self.speed),
        }


def simulation_of(
    devices: int | None, model: str | None, report_every_s: float | None, speed: float | None
) -> Simulation | None:
    """What the command line asks for; None without `--simulate`. Raises `ScenarioError`."""
    if devices is not None:
        return Simulation(
            devices=devices,
            model=model,
            report_every_s=report_every_s,
            speed=1.0 if speed is None else speed,
        )
    for option, given in (
        ("--model", model),
        ("--report-every", report_every_s),
        ("--speed", speed),
    ):
        if given is not None:
            raise ScenarioError(f"{option} is of simulated devices: say how many with --simulate N")
    return None


def wanted_devices(simulation: Simulation | None, devices: int | None, *, own: bool) -> int | None:
    """How many devices are provisioned: as the user asks, and enough to simulate; None: all of the
    user's manifest (`own`), or the default."""
    if simulation is None or devices is not None or own:
        return devices
    return max(DEFAULT_DEVICES, simulation.devices)


def chosen(simulation: Simulation, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """The devices that are simulated: a sample of the manifest with its mix of models.

    Raises `ScenarioError` when there are not as many.
    """
    models = MODELS if simulation.model is None else (simulation.model,)
    able = [row for row in rows if row.model in models]
    wanted = simulation.devices
    if wanted > len(able):
        what = "devices" if simulation.model is None else f"of {simulation.model}"
        raise ScenarioError(
            f"--simulate {wanted}: the manifest has {len(able)} {what}; ask for fewer, or for more "
            "in all with --devices"
        )
    return district(able, wanted, SEED)


async def switch_on(bench: Bench, simulation: Simulation, rows: Sequence[ManifestRow]) -> None:
    """Build the devices with keys of their own, and let them start one after the other.

    They register as any device does; the platform writes to them where and as whom to report.
    """
    options = RunOptions(report_every_s=simulation.interval_s)
    credentials: Mapping[str, Mapping[str, str]] = await bench.device_credentials(rows)
    await bench.start_fleets(configs.fleets(bench, rows, options, [], credentials))
    for fleet in bench.fleets:
        fleet.tell({"start": {"rate_per_s": simulation.rate_per_s}})


async def told_when_connected(simulation: Simulation, live: Live, console: Console) -> None:
    """Wait until the devices are connected, and say so, or how many are not. Raises what ended the
    bench."""
    wanted = simulation.devices
    patience_s = wanted / simulation.rate_per_s + PATIENCE_S
    while (connected := live.connected) < wanted:
        try:
            await live.until(
                "one more device connected",
                lambda: live.connected > connected,
                patience_s,
            )
        except NotReached:
            break
        patience_s = PATIENCE_S
    console.out(connected_line(simulation, live.connected), highlight=False)


def connected_line(simulation: Simulation, connected: int) -> str:
    """How many are there."""
    wanted = simulation.devices
    if connected < wanted:
        return (
            f"{connected:,} of {wanted:,} simulated devices are connected; the others keep trying."
        )
    every = f"every {simulation.interval_s:g} s"
    if wanted == 1:
        return f"The simulated device is connected. It reports {every}."
    return f"All {wanted:,} simulated devices are connected. Each reports {every}."


def models_line(rows: Sequence[ManifestRow]) -> str:
    """How many there are of each model, most first."""
    counts = Counter(row.model for row in rows).most_common()
    return ", ".join(f"{count:,} {model}" for model, count in counts)
