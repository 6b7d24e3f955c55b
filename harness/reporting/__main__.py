"""Makes a run's report again, from its journal alone: `python -m harness.reporting RUN_FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from contracts.report import EXIT_HOLDS, EXIT_OTHER, Report
from harness.checks import defect_was_planted, loader_kept_up
from harness.errors import HarnessError, LamplighterError
from harness.journal import Journal, read_run
from harness.reporting import print_summary, remake_report
from harness.runner.scenario import find_scenario

LOAD: Final = "load"
USAGE = "usage: python -m harness.reporting RUN_FOLDER\n"


def main(arguments: list[str]) -> int:
    """Judge the journal with its scenario's checks, write, print; returns the exit code."""
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return EXIT_HOLDS
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(USAGE)
        return EXIT_OTHER
    directory = Path(arguments[0])
    try:
        journal = read_run(directory)
        if journal.run is None:
            raise HarnessError(f"the journal in {directory} does not say which scenario it is of")
        made = _remake(directory, journal, journal.run.scenario)
    except (LamplighterError, OSError) as error:
        sys.stderr.write(f"harness.reporting: {error}\n")
        return EXIT_OTHER
    print_summary(made, directory, Console())
    return made.exit_code


def _remake(directory: Path, journal: Journal, name: str) -> Report:
    """With the checks of its scenario; what Locust loaded has none, and is judged as a load."""
    if name == LOAD:
        from harness.load.remake import remake_load_report

        return remake_load_report(directory, journal)
    scenario = find_scenario(name)
    checks = scenario.checks
    # Who brings a load of his own is told whether it was kept: see `harness.runner.execute`.
    if "profile" in (journal.run.options if journal.run else {}) and loader_kept_up not in checks:
        checks = (*checks, loader_kept_up)
    if journal.run is not None and journal.run.defect:
        checks = (*checks, defect_was_planted)
    return remake_report(directory, journal, scenario.name, scenario.claim, checks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
