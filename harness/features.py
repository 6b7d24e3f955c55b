"""Prints docs/reference/features.md: every feature of the standards, who has it, and what a peer
gets where it is not there.

Whoever adds a feature names a test that shows it; whoever leaves one out says what happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

PAGE: Final = "docs/reference/features.md"

Support = Literal["yes", "through aiocoap", "no", "–"]
YES: Final = "yes"
AIOCOAP: Final = "through aiocoap"
NO: Final = "no"
NOT_ITS: Final = "–"


class Feature(NamedTuple):
    """One feature; `–` is a role that has no part in it.

    `tests` are pytest node ids beneath `tests/`, one at least where anybody has it; `otherwise` is
    what a peer gets, or what happens, where somebody has it not.
    """

    name: str
    since: str
    server: Support
    bootstrap: Support
    device: Support
    tests: tuple[str, ...] = ()
    otherwise: str = ""

    @property
    def supports(self) -> tuple[Support, Support, Support]:
        """By server emulator, bootstrap server and devices."""
        return self.server, self.bootstrap, self.device


class Group(NamedTuple):
    """The features of one interface or layer."""

    title: str
    features: tuple[Feature, ...]


def features_page(groups: Iterable[Group]) -> str:
    """The page."""
    groups = tuple(groups)
    lines = [
        "# What is supported",
        "",
        "Every feature of LwM2M 1.0, 1.1 and 1.2 and of the protocols beneath, by interface: since",
        "which version or by which RFC, and whether the server emulator, the bootstrap server and",
        "the simulated devices (and those of the device kit) have it. `–`: it has no part in it.",
        "`through aiocoap`: that library does it within our endpoint. The last column is what a",
        "peer gets where the answer is `no`; behind each `yes` is a test, listed at the end.",
        "",
        "Printed by `python -m harness.reference_pages` from `harness/feature_lists/`.",
        "",
        _sum_of(groups),
        "",
    ]
    for group in groups:
        lines += [f"## {group.title}", "", *_table(group.features), ""]
    lines += ["## The tests", ""]
    for group in groups:
        lines += [f"### {group.title}: tests", "", *_evidence(group.features), ""]
    return "\n".join(lines).rstrip() + "\n"


def _sum_of(groups: Iterable[Group]) -> str:
    every = [support for group in groups for each in group.features for support in each.supports]
    told = [f"{every.count(kind)} {kind}" for kind in (YES, AIOCOAP, NO)]
    count = len(every) // 3
    return f"{count} features; of the roles that have a part in them: {', '.join(told)}."


def _table(features: Iterable[Feature]) -> list[str]:
    rows = [
        f"| {each.name} | {each.since} | {' | '.join(each.supports)} | {each.otherwise} |"
        for each in features
    ]
    head = "| feature | since | server | bootstrap server | devices | where it is not there |"
    return [head, "|---|---|---|---|---|---|", *rows]


def _evidence(features: Iterable[Feature]) -> list[str]:
    rows = [
        f"| {each.name} | {'<br>'.join(f'`{test}`' for test in each.tests)} |"
        for each in features
        if each.tests
    ]
    return ["| feature | tests |", "|---|---|", *rows]
