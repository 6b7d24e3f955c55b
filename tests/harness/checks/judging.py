"""Judging a spoiled run: a check's verdict, and one that must be broken and name its devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.checks import Check, Verdict
from harness.journal import Journal

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


LAMP = "lamp-0003"
OTHER = "lamp-0004"


def judge(spoiled: Spoiled, check: Check) -> Verdict:
    return check(Journal(spoiled.records))


def broken(spoiled: Spoiled, check: Check, *endpoints: str) -> Verdict:
    """The verdict of a check that must be broken and must name exactly these."""
    verdict = judge(spoiled, check)
    assert verdict.outcome == "broken", verdict.summary
    assert {evidence.endpoint for evidence in verdict.evidence} == set(endpoints)
    assert verdict.evidence_total >= len(verdict.evidence)
    return verdict
