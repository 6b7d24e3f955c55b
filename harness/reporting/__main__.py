"""Makes a run's report again, from its journal alone: `python -m harness.reporting RUN_FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from contracts.report import EXIT_HOLDS, EXIT_OTHER
from harness.errors import HarnessError, LamplighterError
from harness.journal import read_run
from harness.reporting import print_summary, remake_report
from harness.runner.scenario import find_scenario

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
        scenario = find_scenario(journal.run.scenario)
        made = remake_report(directory, journal, scenario.name, scenario.claim, scenario.checks)
    except (LamplighterError, OSError) as error:
        sys.stderr.write(f"harness.reporting: {error}\n")
        return EXIT_OTHER
    print_summary(made, directory, Console())
    return made.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
