"""From the verdicts of all checks to the verdict of the run and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from contracts.report import (
    EXIT_BROKEN,
    EXIT_HOLDS,
    EXIT_INCONCLUSIVE,
    EXIT_OTHER,
    Outcome,
)
from harness.checks.faults import voided_by
from harness.checks.verdict import Verdict


class Conclusion(NamedTuple):
    """The run's verdict, its exit code, and the checks, those voided that a bad load voids."""

    verdict: Outcome
    exit_code: int
    checks: list[Verdict]


def conclude(
    verdicts: Sequence[Verdict], *, saturated: bool, faults: Sequence[str] = ()
) -> Conclusion:
    """Weigh the verdicts. A broken safety check beats saturation, which beats all else.

    With `faults` of the bench itself nothing is broken and nothing holds. No check at all is
    inconclusive: nothing was claimed.
    """
    if faults:
        checks = [voided_by(faults, verdict) for verdict in verdicts]
        return Conclusion("inconclusive", EXIT_OTHER, checks)
    checks = [_voided(verdict) for verdict in verdicts] if saturated else list(verdicts)
    outcomes = {verdict.outcome for verdict in checks}
    if "broken" in outcomes:
        return Conclusion("broken", EXIT_BROKEN, checks)
    # A story without a claim about the load does not mind how it was made.
    if saturated and any(verdict.about != "safety" for verdict in checks):
        return Conclusion("inconclusive", EXIT_OTHER, checks)
    if "inconclusive" in outcomes or not checks:
        return Conclusion("inconclusive", EXIT_INCONCLUSIVE, checks)
    return Conclusion("holds", EXIT_HOLDS, checks)


def _voided(verdict: Verdict) -> Verdict:
    if verdict.about != "rate" or verdict.outcome == "inconclusive":
        return verdict
    return msgspec.structs.replace(
        verdict,
        outcome="inconclusive",
        summary=f"void, since the loader was saturated; it would have been: {verdict.summary}",
    )
