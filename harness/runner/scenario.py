"""What a scenario is, and how scenarios are found by name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fake_devices.load_profiles import IllegalProfile, LoadProfile, read_profile
from harness.bench.target import Target
from harness.bench.topology import SERVERS_MAX
from harness.errors import ScenarioError
from harness.security import SECURITIES, Security

if TYPE_CHECKING:
    from harness.checks import Check
    from harness.runner.run import Run

Broker = Literal["embedded", "amqtt", "mosquitto"]
BROKERS: tuple[Broker, ...] = ("embedded", "amqtt", "mosquitto")
Defect = Literal[
    "lose_one", "duplicate_one", "swap_credentials", "alter_value", "skip_ack", "misroute_one"
]
DEFECTS: tuple[Defect, ...] = (
    "lose_one",
    "duplicate_one",
    "swap_credentials",
    "alter_value",
    "skip_ack",
    "misroute_one",
)

PACKS_PER_S = 400
FLEET_PROCESSES_MAX = 64
# Of a name that is wrong: how many others are proposed, and from how long a part of them.
LIKELY_MAX = 3
HINT_LETTERS_MIN = 3


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user may choose about a run; the defaults are the main job's.

    `devices` None is the whole of a user's manifest, or 200 of the harbour district;
    `rate_per_s` None leaves the pace to the scenario, `security` None the way that devices prove
    themselves.
    `report_every_s` None spreads `PACKS_PER_S` over the fleet, at least one second apart, unless
    `profile` has telemetry; `telemetry_s` None goes on until every stream can have its readings
    and, from 1,000 devices on, for 60 s or longer. A profile is followed to its end.
    `fleet_processes` share the devices; they spread over `servers`, None being the scenario's.
    """

    devices: int | None = None
    rate_per_s: float | None = None
    seed: int = 1
    broker: Broker = "embedded"
    security: Security | None = None
    defect: Defect | None = None
    manifest: Path | None = None
    out: Path = Path("reports")
    report_every_s: float | None = None
    telemetry_s: float | None = None
    taps: bool = True
    keep_state: bool = False
    profile: LoadProfile | None = None
    fleet_processes: int = 1
    servers: int | None = None
    # Where the platform keeps its data; None: embedded.
    target: Target | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run. Raises `ScenarioError`."""
        if self.devices is not None and not 1 <= self.devices <= 1_000_000:
            raise ScenarioError(f"--devices {self.devices}: choose 1 to 1,000,000")
        if self.rate_per_s is not None and not 0 < self.rate_per_s <= 1e6:
            raise ScenarioError(f"--rate {self.rate_per_s:g}: choose a rate above 0 per second")
        if self.report_every_s is not None and not 0.05 <= self.report_every_s <= 86_400:
            raise ScenarioError(f"--report-every {self.report_every_s:g}: choose 0.05 s to a day")
        if self.telemetry_s is not None and not 0 <= self.telemetry_s <= 864_000:
            raise ScenarioError(f"--duration {self.telemetry_s:g}: choose 0 s to ten days")
        if not 1 <= self.fleet_processes <= FLEET_PROCESSES_MAX:
            raise ScenarioError(
                f"--fleet-processes {self.fleet_processes}: choose 1 to {FLEET_PROCESSES_MAX}"
            )
        if self.servers is not None and not 1 <= self.servers <= SERVERS_MAX:
            raise ScenarioError(f"--servers {self.servers}: choose 1 to {SERVERS_MAX}")
        if self.defect and self.defect != "swap_credentials" and self.broker != "embedded":
            raise ScenarioError(
                f"--defect {self.defect} is planted in the embedded broker: "
                f"drop --broker {self.broker}"
            )

    def reporting_interval_s(self, devices: int) -> float:
        """Seconds between two packs of one device, in a fleet of so many."""
        per_s = None if self.profile is None else self.profile.mean_per_s("telemetry")
        if per_s:
            return min(86_400.0, max(0.05, devices / per_s))
        return self.report_every_s or max(1.0, devices / PACKS_PER_S)

    def lasts_s(self, usual_s: float) -> float:
        """`--duration`, also one of 0 s; what is usual for the scenario where there is none."""
        return usual_s if self.telemetry_s is None else self.telemetry_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script with a claim: the story makes things happen, the checks say what must be true."""

    name: str
    claim: str
    story: Callable[[Run], Awaitable[None]]
    checks: tuple[Check, ...]
    needs_broker: tuple[Broker, ...] = BROKERS
    # What it runs with, the first unless the user says otherwise.
    needs_security: tuple[Security, ...] = SECURITIES
    # How many devices, unless the user says otherwise or brings a manifest.
    devices: int | None = None
    # From the command to the report, with that many devices on two cores that do nothing else: for
    # `lamplighter list`. It limits nothing.
    takes_s: float | None = None
    # Whether it was measured so. False: it is reckoned from what the story waits for.
    takes_is_measured: bool = False
    # The shortest `--duration` that it can be told in.
    lasts_s_min: float = 0.0
    # Only street lamps.
    only_lamps: bool = False
    # False: only the LwM2M server and the fleet; no broker, no platform, and no manifest. Its
    # devices are lamps.
    with_platform: bool = True
    # LwM2M servers, each with a bridge of its own, unless the user says otherwise.
    servers: int = 1
    # Whether devices are given a topic on which to say that they are connected.
    with_presence: bool = False
    # False: neither the server's journal nor a reader of its data interface, whatever the user
    # says: for sizes at which they would cost more than what they watch.
    with_taps: bool = True
    # Further fields of the LwM2M server's configuration, and of the fleet's.
    server_settings: Mapping[str, Any] = field(default_factory=dict)
    fleet_settings: Mapping[str, Any] = field(default_factory=dict)
    # The same of provisioning's.
    provisioning_settings: Mapping[str, Any] = field(default_factory=dict)


def told_size(scenario: Scenario) -> str:
    """How many devices a scenario has and how long it takes, as far as it says so."""
    told = []
    if scenario.devices is not None:
        told.append(f"{scenario.devices:,} devices")
    if scenario.takes_s is not None:
        estimated = "" if scenario.takes_is_measured else " (estimated)"
        told.append(f"about {_told_duration(scenario.takes_s)}{estimated}")
    return ", ".join(told)


def _told_duration(seconds: float) -> str:
    """To five seconds below two minutes, to half a minute beyond."""
    if seconds < 120:
        return f"{round(seconds / 5) * 5:g} s"
    return f"{round(seconds / 30) / 2:g} min"


def sized(options: RunOptions, scenario: Scenario) -> RunOptions:
    """The options with the scenario's number of devices where the user chose none.

    Raises `ScenarioError` for what a scenario without a platform cannot do, and for a duration in
    which the scenario's cannot happen.
    """
    if options.lasts_s(scenario.lasts_s_min) < scenario.lasts_s_min:
        raise ScenarioError(
            f"--duration {options.telemetry_s:g}: {scenario.name} needs "
            f"{scenario.lasts_s_min:g} s or more"
        )
    if not scenario.with_platform:
        for name, given in (
            ("--manifest", options.manifest),
            ("--defect", options.defect),
            ("--report-every", options.report_every_s),
            ("--target", options.target),
            ("--broker", None if options.broker == "embedded" else options.broker),
        ):
            if given is not None:
                raise ScenarioError(
                    f"{scenario.name} has no {name}: it runs the LwM2M server and the fleet alone"
                )
        if (options.servers or 1) > 1:
            raise ScenarioError(f"{scenario.name} has one server: it runs without bridges")
        options = replace(options, taps=options.taps and scenario.with_taps)
    options = replace(options, servers=options.servers or scenario.servers)
    profile = options.profile
    has_own = options.manifest is not None or (
        profile is not None and profile.count("registrations") > 0
    )
    if options.devices is not None or has_own:
        return options
    return replace(options, devices=scenario.devices)


def devices_wanted(options: RunOptions) -> int | None:
    """How many devices a run has: as the user asks, else as many as the profile switches on.

    Raises `ScenarioError` when the profile would leave some off.
    """
    arrivals = 0 if options.profile is None else options.profile.count("registrations")
    if not arrivals:
        return options.devices
    if options.devices is not None and options.devices > arrivals:
        raise ScenarioError(
            f"--devices {options.devices}: the profile switches {arrivals} on; lengthen its "
            "registrations or choose fewer devices"
        )
    return options.devices or arrivals


def load_profile(path: Path) -> LoadProfile:
    """The load profile of a TOML file. Raises `ScenarioError`."""
    try:
        return read_profile(path)
    except IllegalProfile as error:
        raise ScenarioError(str(error)) from None


def find_scenarios() -> dict[str, Scenario]:
    """Every scenario under the package `scenarios`, by name. Each module holds one `SCENARIO`."""
    import scenarios

    found: dict[str, Scenario] = {}
    for module in pkgutil.walk_packages(scenarios.__path__, "scenarios."):
        # A file for Locust changes the process that imports it.
        if not module.ispkg and not module.name.endswith(".locustfile"):
            scenario = getattr(importlib.import_module(module.name), "SCENARIO", None)
            if isinstance(scenario, Scenario):
                found[scenario.name] = scenario
    return dict(sorted(found.items()))


def find_scenario(name: str) -> Scenario:
    """The scenario with this name. Raises `ScenarioError` that names those that may be meant, or
    lists all."""
    scenarios = find_scenarios()
    if name not in scenarios:
        likely = _likely(name, list(scenarios))
        raise ScenarioError(
            f"there is no scenario {name!r}; "
            + (
                f"did you mean {' or '.join(likely)}? `lamplighter list` shows all"
                if likely
                else f"`lamplighter list` shows: {', '.join(scenarios)}"
            )
        )
    return scenarios[name]


def _likely(name: str, names: Sequence[str]) -> list[str]:
    """The names that somebody who wrote `name` may have meant, likeliest first."""
    wanted = name.lower().replace("-", "_")
    holding = [each for each in names if len(wanted) >= HINT_LETTERS_MIN and wanted in each]
    last_parts = {each.rpartition(".")[2]: each for each in names}
    close = [
        *difflib.get_close_matches(wanted, names, LIKELY_MAX),
        *(
            last_parts[each]
            for each in difflib.get_close_matches(wanted, list(last_parts), LIKELY_MAX)
        ),
    ]
    return list(dict.fromkeys([*holding, *close]))[:LIKELY_MAX]
