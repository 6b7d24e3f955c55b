"""Prints docs/reference/roles.md: who may do what, and the states of identity and audit."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from city_platform.audit.chain import CHAIN_TRANSITIONS, LINE_FINDINGS
from city_platform.identity.accounts import ACCOUNT_TRANSITIONS
from city_platform.identity.attempts import ATTEMPT_TRANSITIONS
from city_platform.identity.claims import FAULTS
from city_platform.identity.families import FAMILY_TRANSITIONS
from city_platform.identity.operations import OPERATIONS, ROLES, Operation, Scope
from city_platform.identity.signing import KEY_TRANSITIONS

PAGE: Final = Path(__file__).parents[2] / "docs/reference/roles.md"
COMMAND: Final = "python -m city_platform.identity.page"

_SCOPES: Final[dict[Scope, str]] = {
    Scope.PUBLIC: "anybody, without a token",
    Scope.SIGNED_IN: "whoever is signed in, for themselves",
    Scope.DEVICE: "who has the role for the tenant of the device in the path",
    Scope.QUERY: "who has the role for the tenant in `?tenant=`; without it, for all tenants",
    Scope.ANSWER: "who has the role for the tenant of the device that the answer names",
    Scope.NARROWED: "who has the role for some tenant; the answer keeps to these tenants",
    Scope.ANY: "who has the role for some tenant; it tells of no tenant's devices",
    Scope.INSTALLATION: "who has the role for all tenants (`*`)",
}


class _Machine(NamedTuple):
    title: str
    about: str
    table: Mapping[Any, Mapping[Any, Any]]


_MACHINES: Final = (
    _Machine(
        "Wrong passwords",
        "Of one sign-in name, whether there is such a user or not.",
        ATTEMPT_TRANSITIONS,
    ),
    _Machine("A session", "All refresh tokens that came from one sign-in.", FAMILY_TRANSITIONS),
    _Machine("An account", "Who is enabled again gets an invitation.", ACCOUNT_TRANSITIONS),
    _Machine("A signing key", "`gone` keys are published no more.", KEY_TRANSITIONS),
    _Machine("The audit chain", "What each line is to those before it.", CHAIN_TRANSITIONS),
)


def roles_page() -> str:
    """The text of the page."""
    return (
        "\n".join(
            [
                "# Roles",
                "",
                f"Printed by `{COMMAND}` from `city_platform/identity/operations.py`; do not edit.",
                "",
                "A user has roles for tenants. A token says them as groups (`cognito:groups`):",
                "`harbour:controller` is the controller of the tenant `harbour`, `*:analyst` the",
                "analyst of all. A group without a tenant (`controller`) is for the tenant that",
                "the claim `custom:tenant` names. What is not in the table below nobody may do.",
                "",
                *_table(
                    ("role", "what for"), [(f"`{role}`", what) for role, what in ROLES.items()]
                ),
                "## Operations",
                "",
                "**audited**: kept for the audit log before it is done; what cannot be kept is",
                "refused. Sign-ins, set-ups and password changes are kept too, also refused ones.",
                "",
                *_operations(),
                "### For whom",
                "",
                *_table(("for", "may"), [(f"`{scope}`", text) for scope, text in _SCOPES.items()]),
                "## Refused tokens",
                "",
                "Every one is answered 401 with an RFC 9457 problem.",
                "",
                *_table(
                    ("fault", "detail"), [(f"`{fault}`", text) for fault, text in FAULTS.items()]
                ),
                "## States",
                "",
                "Rows are states, columns what happens, cells where it leads; `·` changes nothing.",
                "",
                *(line for machine in _MACHINES for line in _states(machine)),
                "## Findings of `lamplighter audit verify`",
                "",
                *_table(
                    ("finding", "the line"),
                    [(f"`{finding}`", text) for finding, text in LINE_FINDINGS.items()],
                ),
            ]
        ).rstrip("\n")
        + "\n"
    )


def _operations() -> list[str]:
    columns = ("operation", "request", "for", *ROLES, "audited")
    return _table(columns, [_operation(one) for one in OPERATIONS])


def _operation(operation: Operation) -> tuple[str, ...]:
    is_free = operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN)
    cells = ("yes" if is_free or role in operation.roles else "" for role in ROLES)
    return (
        f"{operation.what} (`{operation.name}`)",
        f"{operation.component} `{operation.method} {operation.path}`",
        f"`{operation.scope}`",
        *cells,
        "yes" if operation.is_audited else "",
    )


def _states(machine: _Machine) -> list[str]:
    events = list(next(iter(machine.table.values())))
    rows = [
        (f"**{state}**", *(_cell(cells[event]) for event in events))
        for state, cells in machine.table.items()
    ]
    columns = ("", *(f"{event}".replace("_", " ") for event in events))
    return [f"### {machine.title}", "", machine.about, "", *_table(columns, rows)]


def _cell(state: StrEnum | None) -> str:
    return "·" if state is None else str(state)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


if __name__ == "__main__":
    PAGE.write_text(roles_page())
