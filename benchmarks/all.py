"""Runs every benchmark, one after the other, and keeps what they print.

    python -m benchmarks.all --out DIR [--only NAME...] [--quick] [--scenarios]

Each has a bound of its own; one that fails or takes longer leaves a line that says so, and the next
begins. `DIR/lines.jsonl` has a line for each command, for `python -m benchmarks.page`; what it said
besides is in `DIR/NAME.log`. `--quick` takes very small sizes, to see that everything works;
`--scenarios` runs the `scale.*` scenarios after the benchmarks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.page import UnusableLines, read_lines, scenario_line
from benchmarks.rig import plain_conditions
from contracts.errors import ContractError
from contracts.report import decode_report
from harness.mqtt_broker.mosquitto import find_mosquitto

LINES: Final = "lines.jsonl"
ROOT: Final = Path(__file__).parents[1]
LAST_WORDS_BYTES: Final = 400
ENDS_WITHIN_S: Final = 30.0
# The `lamplighter` command of this very tree, whatever is installed.
LAMPLIGHTER: Final = "from harness.command import main; main()"


class Planned(NamedTuple):
    """One command: how it is run in earnest, and quickly; seconds that it may take."""

    name: str
    arguments: str = ""
    quick: str = ""
    within_s: float = 300.0

    def command(self, *, is_quick: bool) -> list[str]:
        """Its command line, after the interpreter's name."""
        chosen = (self.quick if is_quick else self.arguments).split()
        if self.name.startswith("scale."):
            return ["-c", LAMPLIGHTER, "run", self.name, "--json", *chosen]
        return ["-m", f"benchmarks.{self.name}", *chosen]


def benchmarks(*, has_mosquitto: bool, has_java: bool) -> Iterator[Planned]:
    """All of them, in the order in which they are run."""
    leshan = " --leshan" if has_java else ""
    yield Planned("coap_core", "", "--exchanges 2000 --aiocoap-exchanges 100")
    yield Planned(
        "registrations",
        f"--devices 20000 --updates{leshan}",
        "--devices 300 --updates --aiocoap-exchanges 100",
    )
    yield Planned(
        "registrations",
        "--devices 100000 --rate 10000 --aiocoap-exchanges 0",
        "--devices 200 --rate 200 --aiocoap-exchanges 0",
    )
    brokers = ["embedded", *(["mosquitto"] if has_mosquitto else [])]
    rates = {"embedded": (900, 600), "mosquitto": (2_200, 1_300)}
    for broker in brokers:
        for security, rate in zip(("none", "psk"), rates[broker], strict=True):
            yield Planned(
                "onboarding",
                f"--broker {broker} --security {security} --devices {rate * 20} --rate {rate}",
                f"--broker {broker} --security {security} --devices 10 --rate 50",
            )
    for broker in brokers:
        yield Planned(
            "reconnects", f"--broker {broker}", f"--broker {broker} --devices 5 --times 1"
        )
        yield Planned(
            "telemetry",
            f"--broker {broker} --devices 5000",
            f"--broker {broker} --devices 5 --packs 5",
        )
        yield Planned(
            "commands",
            f"--broker {broker} --devices 5000 --rate 500 --seconds 20",
            f"--broker {broker} --devices 5 --rate 10 --seconds 1",
        )
    yield Planned(
        "fleet_memory",
        "",
        "--devices 200 --dtls-devices 50 --mqtt-devices 5 --updating-devices",
        900.0,
    )
    yield Planned("dtls", "", "--devices 50 --x509-devices 5 --exchanges 200")
    yield Planned("provisioning", "", "--rows 40")
    yield Planned("report_generation", "", "--devices 20 --packs 12")
    yield Planned("bench_start", "", "--times 1")
    yield Planned("mqtt_broker", "", "--kinds embedded")
    yield Planned("leshan_client", "", "--clients 1")
    yield Planned("dashboard_map", "", "--devices 100 --times 1 --seconds 1")


def scenarios() -> Iterator[Planned]:
    """The scenarios `scale.*`, at their own sizes."""
    yield Planned("scale.ten_thousand_lamps_register", "", "--devices 200 --duration 2", 300.0)
    yield Planned("scale.fifty_thousand_kept_alive", "", "--devices 200 --duration 35", 600.0)
    yield Planned("scale.a_million_lamps_on_one_machine", "", "--devices 2000 --rate 400", 1_800.0)
    yield Planned("scale.firmware_to_500_at_once", "", "--devices 20", 900.0)
    yield Planned("scale.dusk", "", "--devices 20 --duration 10", 600.0)
    yield Planned("scale.power_cut_and_return", "", "--devices 20", 600.0)
    yield Planned("scale.a_city_day", "", "--devices 20 --duration 20", 1_200.0)
    yield Planned("scale.four_bridges_share_the_city", "", "--devices 24", 900.0)
    yield Planned("scale.soak", "", "--devices 20 --duration 60", 1_200.0)


def _end_group(process: subprocess.Popen[bytes]) -> bytes:
    """Ask it and its group to end, then make them; what it has printed, if that can be had."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=ENDS_WITHIN_S)[0]
    return b""


def run_one(planned: Planned, out: Path, *, is_quick: bool) -> dict[str, Any]:
    """Run one command; its line, or one that says how it failed."""
    arguments = planned.command(is_quick=is_quick)
    if planned.name.startswith("scale."):
        arguments += ["--out", str(out / "runs")]
    log = out / f"{planned.name}.log"
    began_s = time.monotonic()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=planned.within_s)
            fault = None
        except subprocess.TimeoutExpired:
            # Its processes are a group of their own.
            printed = _end_group(process)
            fault = f"it took longer than {planned.within_s:g} s"
    told = {
        "command": _told(arguments),
        "ended": datetime.now(UTC).strftime("%Y-%m-%d"),
        "took_s": round(time.monotonic() - began_s, 1),
    }
    # Those that say nothing of the machine and the versions.
    conditions = {"conditions": plain_conditions()}
    return conditions | _line(planned, printed, fault, log) | told


def _told(arguments: list[str]) -> str:
    """The command as people write it."""
    if arguments[:2] == ["-c", LAMPLIGHTER]:
        shown = [each for each in arguments[2:-2] if each != "--json"]
        return " ".join(["lamplighter", *shown])
    return " ".join(["python", *arguments])


def _line(planned: Planned, printed: bytes, fault: str | None, log: Path) -> dict[str, Any]:
    is_scenario = planned.name.startswith("scale.")
    names = {"benchmark": "scenario" if is_scenario else planned.name}
    if is_scenario:
        names["scenario"] = planned.name
    if fault is None:
        try:
            if is_scenario:
                return scenario_line(decode_report(printed))
            return read_lines(printed, planned.name)[-1]
        except (UnusableLines, ContractError):
            fault = _last_words(log)
    return names | {"failed": fault}


def _last_words(log: Path) -> str:
    said = log.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").strip()
    return said.rpartition("\n")[2] or "it printed no line"


def run_all(plan: Iterable[Planned], out: Path, *, is_quick: bool) -> int:
    """Run them one after the other; returns how many failed."""
    out.mkdir(parents=True, exist_ok=True)
    failures = 0
    with (out / LINES).open("ab") as lines:
        for planned in plan:
            line = run_one(planned, out, is_quick=is_quick)
            failures += "failed" in line
            lines.write(msgspec.json.encode(line) + b"\n")
            lines.flush()
            outcome = f"failed: {line['failed']}" if "failed" in line else "done"
            sys.stdout.write(f"{line['command']}: {outcome} ({line['took_s']:g} s)\n")
            sys.stdout.flush()
    return failures


def main() -> int:
    """The command line. Returns 1 when a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenarios", action="store_true", help="the scale.* scenarios as well")
    told = parser.parse_args()
    plan = list(
        benchmarks(
            has_mosquitto=find_mosquitto() is not None, has_java=shutil.which("java") is not None
        )
    )
    if told.scenarios:
        plan += scenarios()
    names = {planned.name for planned in plan}
    unknown = sorted(set(told.only) - names)
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    chosen = [each for each in plan if not told.only or each.name in told.only]
    return 1 if run_all(chosen, told.out, is_quick=told.quick) else 0


if __name__ == "__main__":
    sys.exit(main())
