"""Every count that a component keeps has its row in the table of metrics."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from city_platform.bootstrap.drives import Stand
from city_platform.bridge.procedure import Progress
from city_platform.control.states import TRANSITIONS
from contracts.api import CommandState, IngestionCounts
from contracts.metric_rows import COMPONENTS, METRICS, metrics_of

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z][a-z0-9_]*")

# Where a component's counts are kept: folder or file, and what stands before their names.
KEPT = {
    "bootstrap": [("city_platform/bootstrap", ""), ("city_platform/rules/runner.py", "rules.")],
    "bridge": [("city_platform/bridge", "")],
    "control": [
        ("city_platform/control", ""),
        ("city_platform/bridge_status/routes.py", ""),
        ("city_platform/rules/runner.py", "rules."),
    ],
    "identity": [("city_platform/identity", ""), ("city_platform/audit/outbox.py", "")],
    "audit": [
        ("city_platform/audit/keeper.py", ""),
        ("city_platform/rules/runner.py", "rules."),
    ],
    "provisioning": [
        ("city_platform/provisioning/renewals.py", "renewals."),
        ("city_platform/provisioning/broker_notices.py", "brokers."),
        ("city_platform/audit/outbox.py", ""),
    ],
    "dashboard": [("city_platform/dashboard", "")],
    "bootstrap_server": [("harness/bootstrap_server", "")],
}
# What a name is made of where the code does not say it as a whole.
MADE = {
    "ignored.{}": ["ignored.nosec"],
    "passed_on.{}": ["passed_on.control"],
    "refused_{}": ["refused_full"],
    "refused_handshake_{}": ["refused_handshake_timeout"],
    "datagram_{}": ["datagram_malformed"],
    "sessions_{}": ["sessions_completed"],
    # The other ones are said by `_refusal`, `_checked` and `_opened`: see below.
    "commands_{}": ["commands_malformed"],
    "credentials_{}": [f"credentials_{one.value}" for one in Progress if one.value != "running"],
}


def counts_in(source: str) -> Iterator[str]:
    """What is counted there: `counts["name"] += …`; an f-string's values are `{}`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.AugAssign) or not isinstance(node.target, ast.Subscript):
            continue
        target = node.target.value
        kept_in = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if kept_in.lstrip("_") in ("counts", "counters"):
            yield from texts_of(node.target.slice)


def texts_of(node: ast.expr) -> Iterator[str]:
    """The texts that an index may be."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*texts_of(node.body), *texts_of(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )


def files_of(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def counted_by(component: str) -> set[str]:
    """Every name that the component's code counts under."""
    found = set()
    for place, begin in KEPT[component]:
        for file in files_of(place):
            for name in counts_in(file.read_text()):
                found |= {begin + one for one in (MADE[name] if "{}" in name else [name])}
    return found


@pytest.mark.parametrize("component", sorted(KEPT))
def test_every_count_of_the_code_has_a_row(component: str) -> None:
    table, counted = metrics_of(component), counted_by(component)
    assert counted, "the test looks in the wrong place"
    assert [name for name in sorted(counted) if table.find(name) is None] == []


def test_the_ends_of_commands_have_rows() -> None:
    table = metrics_of("control")
    final = {state for state in get_args(CommandState) if not _moves_on(state)}
    assert final == {"succeeded", "refused", "failed", "expired", "cancelled", "unknown"}
    assert [state for state in sorted(final) if table.find(state) is None] == []


def _moves_on(state: CommandState) -> bool:
    return any(after in ("sent", "delivered") for after in TRANSITIONS[state].values())


def test_where_devices_stand_with_their_credentials_has_rows() -> None:
    table = metrics_of("bootstrap")
    assert [stand for stand in Stand if table.find(stand.value) is None] == []


def test_the_counts_of_ingestion_have_rows() -> None:
    table = metrics_of("ingestion")
    names = IngestionCounts.__struct_fields__
    assert [name for name in names if table.find(name) is None] == []


@pytest.mark.parametrize(
    ("module", "function", "begin"),
    [
        ("city_platform/bridge/commands.py", "_refusal", "commands_"),
        ("city_platform/bridge/credentials.py", "_checked", "credentials_"),
        ("city_platform/bridge/credentials.py", "_opened", "credentials_"),
    ],
)
def test_the_reasons_of_a_bridge_have_rows(module: str, function: str, begin: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    (body,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    reasons = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
            reasons |= set(texts_of(value)) - {"None"}
    assert reasons
    table = metrics_of("bridge")
    assert [one for one in sorted(reasons) if table.find(begin + one) is None] == []


def test_every_metric_has_one_row_and_a_name_that_prometheus_takes() -> None:
    assert [
        name for name, times in Counter(row.metric for row in METRICS).items() if times > 1
    ] == []
    assert [row.metric for row in METRICS if not NAME.fullmatch(row.metric)] == []
    assert [row for row in METRICS if row.label and not NAME.fullmatch(row.label)] == []
    assert [row for row in METRICS if row.counted.endswith("*") != bool(row.label)] == []
    assert {row.component for row in METRICS} == set(COMPONENTS)


def test_a_whole_name_goes_before_a_begun_one() -> None:
    table = metrics_of("bootstrap_server")
    whole, begun = table.find("sessions_running"), table.find("sessions_failed")
    assert whole is not None
    assert whole[0].kind == "gauge"
    assert whole[1] == ""
    assert begun is not None
    assert begun[1] == "failed"
    assert table.find("sessions_") is None
