"""Of a server that answered nobody is said more than that nobody is online."""

from __future__ import annotations

import pytest

from harness.load.config import Entry, Totals
from harness.load.run import nobody_was_answered


def totals(registered: int, failed: int, *errors: str) -> Totals:
    entry = Entry(kind="registered", name="street_lamp", count=registered + failed, failures=failed)
    return Totals(entries=[entry], errors=dict.fromkeys(errors, 1))


@pytest.mark.parametrize(
    ("counted", "is_silent"),
    [
        (Totals(entries=[]), True),
        (totals(0, 3, "registered street_lamp: no answer"), True),
        (totals(1, 3, "registered street_lamp: no answer"), False),
        (totals(0, 2, "registered street_lamp: no answer", "registered bin: 4.03"), False),
    ],
)
def test_a_refusal_is_an_answer_and_so_is_one_registration(
    counted: Totals, is_silent: bool
) -> None:
    assert nobody_was_answered(counted) is is_silent


def test_of_a_master_elsewhere_nothing_is_claimed() -> None:
    assert not nobody_was_answered(None)
