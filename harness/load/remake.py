"""Makes the report of a load again, from its folder: journals, or what Locust's master wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from contracts.journal import RunStarted, SecretsScanned
from contracts.load import LWM2M_ALONE, OPTION_PARTS
from contracts.report import Report
from harness.errors import HarnessError
from harness.journal import Journal
from harness.load.config import EARLIER, Totals
from harness.load.figures import (
    CLAIM,
    SCENARIO,
    checks_of,
    locust_report,
    since_last_test,
    write_locust_report,
)
from harness.load.options import LoadOptions
from harness.reporting import remake_report

TOTALS_FILE: Final = "locust.json"
_ELSEWHERE: Final = "elsewhere"


def remake_load_report(directory: Path, journal: Journal) -> Report:
    """Judge the load in `directory` again, as it was judged, and write its report.

    Raises `HarnessError` when what it was made from is not there.
    """
    assert journal.run is not None
    options = options_of(journal.run, directory)
    if journal.run.options.get("figures_from") == "locust":
        report = locust_report(options, read_totals(directory / TOTALS_FILE), directory.name)
        write_locust_report(directory, report)
        return report
    if list((directory / "journal" / EARLIER).glob("*.jsonl")):
        journal = since_last_test(journal)
    has_secrets = any(scan.needles for scan in journal.of(SecretsScanned))
    checks = checks_of(options, has_secrets=has_secrets)
    return remake_report(directory, journal, SCENARIO, CLAIM, checks)


def options_of(run: RunStarted, directory: Path) -> LoadOptions:
    """As much of the choices as reports are made by. Raises `HarnessError` when some are missing.

    `directory` stands for the devices file of a load by URL, which is gone.
    """
    told = run.options
    try:
        server = "" if told["server"] == "bench" else told["server"]
        is_part = told["figures_from"] == "journals of this machine"
        return LoadOptions(
            users=int(told["users"]),
            spawn_rate_per_s=float(told["spawn_rate_per_s"]),
            workers=int(told["workers"]),
            server=server,
            devices_file=directory if server else None,
            master_host=_ELSEWHERE if is_part else "",
            seed=run.seed,
            uplink=told.get(OPTION_PARTS) != LWM2M_ALONE,
        )
    except (KeyError, ValueError) as error:
        raise HarnessError(
            f"the journal in {directory} does not say how it was loaded: {error}"
        ) from None


def read_totals(file: Path) -> Totals:
    """What Locust's master counted. Raises `HarnessError`."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Totals)
    except OSError as error:
        raise HarnessError(f"cannot read Locust's statistics {file}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HarnessError(f"{file} is not what Locust's master writes: {error}") from None
