"""Prints docs/reference/interoperability.md: what came of each cell, from kept results alone.

`python -m harness.interop_matrix` prints the page from `fixtures/recordings/results.json`; with
`--take FOLDER` it first takes the results of a run over from the folder that the tests wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from harness.kept_results import ResultPage, read_run

PAGE: Final = "docs/reference/interoperability.md"
RESULTS: Final = "fixtures/recordings/results.json"
COMMAND: Final = "python -m harness.interop_matrix"

Status = Literal["passed", "failed", "limit", "not yet", "skipped"]


class CellResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one cell. `role` is the peer's; `detail` is the peer's message for a limit, and
    the reason for anything else that did not pass; `version` is the peer's."""

    peer: str
    role: str
    operation: str
    security: str
    status: Status
    format: str = ""
    detail: str = ""
    version: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Which cell it is."""
        return self.peer, self.role, self.operation, self.format, self.security


_PEERS: Final[Mapping[str, str]] = {
    "leshan": "Eclipse Leshan",
    "libcoap": "libcoap",
    "aiocoap": "aiocoap",
}
_ROLES: Final[Mapping[tuple[str, str], str]] = {
    ("leshan", "server"): "its server, our device",
    ("leshan", "bootstrap server"): "its bootstrap server, our device",
    ("leshan", "client"): "its client, our server",
    ("libcoap", "client"): "its client at our server, as a device would be",
    ("libcoap", "server"): "its client towards our device, as a server would be",
    ("libcoap", "CoAP server"): "its server, asked by our CoAP client",
    ("aiocoap", "client"): "as a device at our server",
    ("aiocoap", "server"): "as a server of our device",
    ("aiocoap", "CoAP client"): "its client, our CoAP core",
    ("aiocoap", "CoAP server"): "its server, our CoAP core",
}
_SECURITIES: Final = ("none", "psk", "x509", "oscore", "tcp", "tls")
_HEAD: Final = """\
# Interoperability

What implementations that are not ours agree on with ours, cell by cell. The page is printed from
results by `{command}`; a test fails when it is stale.
[How the cells are run](../operations/interoperability.md).

`yes`: a test passed. `limit`: the peer cannot do it, with the message that shows it, below the
table. `not yet`: ours cannot. `no`: a test failed. `·`: not a cell: the operation, the format or
the security does not apply there.
"""


def take_results(folder: Path, kept: Sequence[CellResult]) -> list[CellResult]:
    """Kept results with those of a run put over them; what a run skipped leaves the kept one."""
    merged = {each.key: each for each in kept}
    for each in read_run(folder, CellResult):
        if each.status != "skipped" or each.key not in merged:
            merged[each.key] = each
    return sorted(merged.values(), key=_order)


def page(results: Sequence[CellResult]) -> str:
    """The whole page."""
    parts = [_HEAD.format(command=COMMAND), _counts(results)]
    for peer, role in _groups(results):
        group = [each for each in results if (each.peer, each.role) == (peer, role)]
        parts.append(_section(peer, role, group))
    return "\n".join(parts)


def _groups(results: Sequence[CellResult]) -> list[tuple[str, str]]:
    return sorted({(each.peer, each.role) for each in results}, key=_group_order)


def _group_order(group: tuple[str, str]) -> tuple[int, int, str]:
    peer, _ = group
    peers, roles = list(_PEERS), list(_ROLES)
    known = roles.index(group) if group in roles else len(roles)
    return (peers.index(peer) if peer in peers else len(peers), known, group[1])


def _order(result: CellResult) -> tuple[tuple[int, int, str], str, str, int]:
    # The order of operations on the page is that of their names: a run's order is chance.
    return (
        _group_order((result.peer, result.role)),
        result.operation,
        result.format,
        _SECURITIES.index(result.security),
    )


def _counts(results: Sequence[CellResult]) -> str:
    lines = [
        "| peer | version | cells | yes | limit | not yet | no |",
        "|---|---|---|---|---|---|---|",
    ]
    for peer in sorted({each.peer for each in results}, key=lambda name: list(_PEERS).index(name)):
        of_peer = [each for each in results if each.peer == peer]
        versions = sorted({each.version for each in of_peer if each.version})
        counts = [
            sum(each.status in statuses for each in of_peer)
            for statuses in (("passed",), ("limit",), ("not yet", "skipped"), ("failed",))
        ]
        shown = " | ".join(str(count) for count in counts)
        lines.append(f"| {_PEERS[peer]} | {', '.join(versions)} | {len(of_peer)} | {shown} |")
    return "\n".join(lines) + "\n"


def _section(peer: str, role: str, group: Sequence[CellResult]) -> str:
    securities = [each for each in _SECURITIES if any(cell.security == each for cell in group)]
    notes: list[str] = []
    lines = [
        f"## {_PEERS.get(peer, peer)}: {_ROLES.get((peer, role), role)}\n",
        f"| operation | format | {' | '.join(securities)} |",
        f"|---|---|{'---|' * len(securities)}",
    ]
    for operation, content_format in sorted({(each.operation, each.format) for each in group}):
        shown = [
            _shown(_find(group, operation, content_format, security), notes)
            for security in securities
        ]
        lines.append(f"| {operation} | {content_format} | {' | '.join(shown)} |")
    if notes:
        lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"


def _find(
    group: Sequence[CellResult], operation: str, content_format: str, security: str
) -> CellResult | None:
    wanted = (operation, content_format, security)
    return next(
        (each for each in group if (each.operation, each.format, each.security) == wanted), None
    )


def _shown(result: CellResult | None, notes: list[str]) -> str:
    if result is None:
        return "·"
    if result.status == "passed":
        return "yes"
    word = {"limit": "limit", "not yet": "not yet", "skipped": "not yet", "failed": "no"}
    detail = result.detail.replace("|", "\\|").replace("<", "&lt;") or "without a reason"
    if detail not in notes:
        notes.append(detail)
    return f"{word[result.status]} ({notes.index(detail) + 1})"


INTEROP_PAGE: Final = ResultPage(
    command=COMMAND,
    about="Print the interoperability page.",
    page=PAGE,
    results=RESULTS,
    kind=CellResult,
    take=take_results,
    text=page,
)


if __name__ == "__main__":
    sys.exit(INTEROP_PAGE.main())
