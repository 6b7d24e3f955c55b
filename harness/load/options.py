"""What a user may choose about a load, and what Locust's processes are told of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import ScenarioError
from harness.runner.scenario import PACKS_PER_S, Broker
from harness.security import Security

LOCUSTFILE: Final = Path(__file__).parents[2] / "scenarios" / "scale" / "locustfile.py"
LOOPBACK: Final = "127.0.0.1"
MASTER_PORT: Final = 5557
WEB_PORT: Final = 8089
# After the last second of a test: for readings under way, and for a fleet's own end.
SETTLE_WITHIN_S: Final = 20.0
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
# Arguments that this command decides itself; Locust's help calls them so.
_OURS: Final = frozenset(
    {
        "-f",
        "--locustfile",
        "--master",
        "--worker",
        "--processes",
        "--expect-workers",
        "--master-host",
        "--master-port",
        "--master-bind-host",
        "--master-bind-port",
        "--headless",
        "-u",
        "--users",
        "-r",
        "--spawn-rate",
        "-t",
        "--run-time",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The choices. `server` empty brings a bench up; `master_host` set adds workers to a master
    elsewhere; `workers` 0 leaves them to other machines."""

    users: int = 100
    spawn_rate_per_s: float = 10.0
    workers: int = 2
    run_time: str = ""
    headless: bool = False
    web_host: str = LOOPBACK
    web_port: int = WEB_PORT
    master_host: str = ""
    master_port: int = MASTER_PORT
    master_bind_host: str = LOOPBACK
    expect_workers: int | None = None
    locustfile: Path = LOCUSTFILE
    server: str = ""
    devices_file: Path | None = None
    trust_anchors_file: Path | None = None
    manifest: Path | None = None
    broker: Broker = "embedded"
    security: Security = "psk"
    uplink: bool = True
    report_every_s: float | None = None
    commands_per_s: float = 0.0
    lifetime_s: int = 300
    seed: int = 1
    taps: bool = True
    out: Path = Path("reports")
    locust_arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be run. Raises `ScenarioError`."""
        self._check_sizes()
        self._check_places()
        run_time_s(self.run_time)
        if not self.locustfile.is_file():
            raise ScenarioError(f"--locustfile {self.locustfile}: there is no such file")
        if self.locustfile.suffix != ".py":
            raise ScenarioError(f"--locustfile {self.locustfile}: Locust wants a name in .py")
        for argument in self.locust_arguments:
            if argument.partition("=")[0] in _OURS:
                raise ScenarioError(
                    f"{argument} behind --: `lamplighter load` has an option for it, or decides it"
                )

    def _check_sizes(self) -> None:
        if not 1 <= self.users <= 1_000_000:
            raise ScenarioError(f"--users {self.users}: choose 1 to 1,000,000")
        if not 0 < self.spawn_rate_per_s <= 1e5:
            raise ScenarioError(f"--spawn-rate {self.spawn_rate_per_s:g}: choose above 0, to 1e5")
        if not 0 <= self.workers <= 256:
            raise ScenarioError(f"--workers {self.workers}: choose 0 to 256")
        if not 1 <= self.lifetime_s <= 86_400_000:
            raise ScenarioError(f"--lifetime {self.lifetime_s}: choose 1 s to 1000 days")
        if not 0 <= self.commands_per_s <= 1_000:
            raise ScenarioError(f"--commands {self.commands_per_s:g}: choose 0 to 1000 per second")
        if self.report_every_s is not None and not 0.05 <= self.report_every_s <= 86_400:
            raise ScenarioError(f"--report-every {self.report_every_s:g}: choose 0.05 s to a day")

    def _check_places(self) -> None:
        if self.master_host and not self.server:
            raise ScenarioError(
                "--master-host needs --server too: the workers of this machine have no bench here"
            )
        if self.master_host and not self.workers:
            raise ScenarioError("--master-host with --workers 0: there is nothing to start")
        if self.server and self.workers and self.devices_file is None and self.is_secure:
            raise ScenarioError(
                f"--server {self.server} needs --devices FILE with the devices' keys"
            )
        if self.commands_per_s and self.server:
            raise ScenarioError("--commands goes through a bench's control API: drop --server")
        if not self.server and self.devices_file is not None:
            raise ScenarioError("--devices goes with --server: a bench of its own makes its keys")
        if not self.server and not self.workers:
            raise ScenarioError(
                "--workers 0 needs --server: workers elsewhere cannot reach a bench"
            )
        if self.wanted_workers < max(1, self.workers):
            raise ScenarioError(
                f"--expect-workers {self.wanted_workers}: it counts the {self.workers} of this "
                "machine too"
            )

    @property
    def is_secure(self) -> bool:
        """Whether the server is reached by DTLS."""
        return self.server.startswith("coaps")

    @property
    def wanted_workers(self) -> int:
        """With how many workers a test begins."""
        return self.workers if self.expect_workers is None else self.expect_workers

    @property
    def devices(self) -> int:
        """How many devices a bench needs.

        Locust spreads users evenly over workers, and so are devices; where there is no even
        number of them, each may need one more than the other has.
        """
        return self.users + (self.workers if self.users % max(1, self.workers) else 0)

    def reporting_interval_s(self) -> float:
        """Seconds between two packs of one device."""
        return self.report_every_s or max(1.0, self.users / PACKS_PER_S)


def run_time_s(text: str) -> int:
    """Seconds of a run time as Locust writes it: 300, 90s, 10m, 1h30m; 0 of none.

    Raises `ScenarioError`.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ScenarioError(f"--run-time {text}: write 300, 90s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total_s = hours * 3600 + minutes * 60 + seconds
    if text and not total_s:
        raise ScenarioError(f"--run-time {text}: choose a second or more")
    return total_s


def master_arguments(options: LoadOptions, directory: Path, target: str) -> tuple[str, ...]:
    """What the Locust master gets on its command line; `target` is shown as the host."""
    arguments = [
        *("-f", str(options.locustfile), "--master"),
        *("--master-bind-host", options.master_bind_host),
        *("--master-bind-port", str(options.master_port)),
        *("--expect-workers", str(options.wanted_workers)),
        *("--users", str(options.users)),
        *("--spawn-rate", f"{options.spawn_rate_per_s:g}"),
        *("--host", target),
        *("--csv", str(directory / "locust")),
        *("--html", str(directory / "locust.html")),
    ]
    if options.run_time:
        arguments += ["--run-time", f"{run_time_s(options.run_time)}s"]
    if options.headless:
        arguments += ["--headless", "--only-summary"]
    else:
        arguments += ["--web-host", options.web_host, "--web-port", str(options.web_port)]
    return (*arguments, *options.locust_arguments)


def worker_arguments(options: LoadOptions, master: str, port: int) -> tuple[str, ...]:
    """What a Locust worker gets on its command line."""
    return (
        *("-f", str(options.locustfile), "--worker"),
        *("--master-host", master, "--master-port", str(port)),
        *options.locust_arguments,
    )
