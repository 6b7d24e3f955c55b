"""How verdicts add up: broken beats saturation, which beats inconclusive, which beats holds."""

from __future__ import annotations

import pytest

from contracts.report import About, CheckResult, Outcome
from harness.checks import conclude


def _check(outcome: Outcome, about: About = "safety") -> CheckResult:
    return CheckResult(name="x", claim="c", outcome=outcome, summary="s", about=about)


LOADER = _check("inconclusive", "loader")


@pytest.mark.parametrize(
    ("outcomes", "saturated", "verdict", "exit_code"),
    [
        (["holds", "holds"], False, "holds", 0),
        (["holds", "inconclusive"], False, "inconclusive", 2),
        (["inconclusive", "broken"], False, "broken", 1),
        ([], False, "inconclusive", 2),
        (["holds"], True, "holds", 0),
        (["broken"], True, "broken", 1),
    ],
)
def test_safety_checks_add_up(
    outcomes: list[Outcome], saturated: bool, verdict: str, exit_code: int
) -> None:
    found = conclude([_check(outcome) for outcome in outcomes], saturated=saturated)
    assert (found.verdict, found.exit_code) == (verdict, exit_code)


def test_a_saturated_loader_is_exit_three_unless_something_unsafe_was_seen() -> None:
    assert conclude([_check("holds"), LOADER], saturated=True)[:2] == ("inconclusive", 3)
    assert conclude([_check("inconclusive"), LOADER], saturated=True)[:2] == ("inconclusive", 3)
    assert conclude([_check("broken"), LOADER], saturated=True)[:2] == ("broken", 1)


def test_saturation_voids_claims_on_rates_and_no_others() -> None:
    found = conclude([_check("broken", "rate"), _check("holds", "rate"), LOADER], saturated=True)
    assert [check.outcome for check in found.checks] == ["inconclusive"] * 3
    assert found.exit_code == 3
    assert conclude([_check("broken", "rate")], saturated=False).exit_code == 1
