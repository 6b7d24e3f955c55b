"""What a measurement must reach, and whether it did: a field of its line, and an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Fields = dict[str, Any]

MET: Final = 0
NOT_MET: Final = 1
INCONCLUSIVE: Final = 2


class Bar(NamedTuple):
    """One bar. `measured` None: this run cannot tell, `because` says why.

    `is_ceiling`: at most `wanted`; else at least.
    """

    name: str
    wanted: float
    measured: float | None
    is_ceiling: bool = False
    because: str = ""

    @property
    def is_met(self) -> bool | None:
        """None when this run cannot tell."""
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.is_ceiling else self.measured >= self.wanted


def told(bars: Sequence[Bar]) -> list[Fields]:
    """The bars as fields of a line."""
    return [
        {
            "bar": bar.name,
            "at_most" if bar.is_ceiling else "at_least": bar.wanted,
            "measured": bar.measured,
            "met": bar.is_met,
            **({"because": bar.because} if bar.because else {}),
        }
        for bar in bars
    ]


def exit_code(line: Mapping[str, Any]) -> int:
    """Of a line with `bars`: 0 when all are met, 1 when one is not, 2 when one cannot be told."""
    verdicts = [bar["met"] for bar in line["bars"]]
    if False in verdicts:
        return NOT_MET
    return INCONCLUSIVE if None in verdicts else MET


def cores_allow_per_s(cpu_us_each: Mapping[str, float], cores: int) -> float:
    """How many a second the CPU of all processes together would allow on an idle machine."""
    used_us = sum(cpu_us_each.values())
    return round(cores * 1e6 / used_us, 1) if used_us else 0.0
