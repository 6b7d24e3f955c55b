"""What a check is, and how it words its verdict: claim, outcome, evidence that names devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from contracts.journal import Record
from contracts.report import About, CheckResult, Evidence, Outcome
from harness.journal import Journal

Verdict: TypeAlias = CheckResult
Check: TypeAlias = Callable[[Journal], Verdict]
"""A pure function of the journal."""

# What a report shows of one check; the total is always told.
EVIDENCE_MAX = 25


@dataclass(frozen=True, slots=True)
class Claim:
    """What a check says must be true; its methods make the verdict."""

    name: str
    text: str
    about: About = "safety"

    def holds(self, summary: str, seen: Iterable[Evidence] = ()) -> Verdict:
        """Everything was as claimed."""
        return self._verdict("holds", summary, seen)

    def broken(self, summary: str, faults: Iterable[Evidence]) -> Verdict:
        """Something was not."""
        return self._verdict("broken", summary, faults)

    def inconclusive(self, summary: str, seen: Iterable[Evidence] = ()) -> Verdict:
        """Not enough was observed to say."""
        return self._verdict("inconclusive", summary, seen)

    def judge(self, faults: Sequence[Evidence], *, good: str, bad: str) -> Verdict:
        """Broken, as `bad` words it, when there are faults; else it holds, as `good` does."""
        if faults:
            return self.broken(bad, faults)
        return self.holds(good)

    def _verdict(self, outcome: Outcome, summary: str, evidence: Iterable[Evidence]) -> Verdict:
        rows = list(evidence)
        return Verdict(
            name=self.name,
            claim=self.text,
            outcome=outcome,
            summary=summary,
            about=self.about,
            evidence=rows[:EVIDENCE_MAX],
            evidence_total=len(rows),
        )


TAPS_OFF = "the taps were off"


def unobserved(journal: Journal, *kinds: type[Record]) -> str | None:
    """Why nothing can be said: of which kinds no record is there. None when all kinds are."""
    missing = [kind.__name__ for kind in kinds if not journal.of(kind)]
    if not missing:
        return None
    reason = TAPS_OFF if taps_were_off(journal) else "nothing recorded them"
    return f"there is no {' and no '.join(missing)} in the journal: {reason}"


def taps_were_off(journal: Journal) -> bool:
    """Whether the user chose to run without the broker's and the server's taps."""
    return journal.run is not None and journal.run.options.get("taps") == "off"
