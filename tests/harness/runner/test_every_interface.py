"""Every HTTP interface of a whole bench under generated requests, by everybody who may come.

Nothing may fail (5xx), and what is refused says what is wrong and what to do (RFC 9457).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, openapi

from city_platform.identity.openapi import document
from city_platform.identity.operations import OPERATIONS
from harness.bench.bench import Bench, BenchPlan, bench_up
from harness.bench.operators import ROLES
from harness.runner.cohort import choose
from runtime.clock import SystemClock
from runtime.journal import NoJournal

pytestmark = [pytest.mark.slow, pytest.mark.bench]

# Of each operation, as it is described, and with bodies that are not as described.
EXAMPLES: Final = 6
WRONG_EXAMPLES: Final = 3
ANSWERS_WITHIN_S: Final = 60.0

_BOUNDED = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


class Seen:
    """What was answered: by status, and what must not be."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.findings: list[str] = []

    def take(self, what: str, answer: requests.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code < 400:
            # A feed does not end by itself.
            return
        fault = fault_of(answer)
        if fault:
            self.findings.append(f"{what}: {answer.status_code} {fault}")


def fault_of(answer: requests.Response) -> str:
    """What is wrong with a refusal; empty when nothing is."""
    if answer.status_code >= 500:
        return f"fails: {answer.text[:200]}"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"is no problem document: {answer.headers.get('content-type')}"
    found = answer.json()
    if found.get("status") != answer.status_code or not found.get("title"):
        return f"is a problem without status or title: {answer.text[:200]}"
    if answer.status_code == 401 and "www-authenticate" not in answer.headers:
        return "does not say how to sign in"
    return ""


def ask_everything(component: str, address: str, bearers: Mapping[str, str], seen: Seen) -> None:
    """Ask for every operation of a component, as everybody."""
    with requests.Session() as session:
        schema = openapi.from_dict(document(component))
        for each in schema.get_all_operations():
            operation = each.ok()
            has_body = bool(operation.body)
            ask(operation.as_strategy(), component, address, bearers, seen, session, EXAMPLES)
            if has_body:
                wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
                ask(wrong, component, address, bearers, seen, session, WRONG_EXAMPLES)


def ask(
    cases: Any,
    component: str,
    address: str,
    bearers: Mapping[str, str],
    seen: Seen,
    session: requests.Session,
    examples: int,
) -> None:
    @settings(_BOUNDED, max_examples=examples)
    @given(case=cases, who=st.sampled_from(sorted(bearers)))
    def send(case: Any, who: str) -> None:
        headers = {"Authorization": f"Bearer {bearers[who]}"} if bearers[who] else {}
        wanted = case.as_transport_kwargs(base_url=f"http://{address}", headers=headers)
        wanted = {name: value for name, value in wanted.items() if value is not None}
        what = f"{component}: {wanted['method']} {wanted['url']} as {who}"
        try:
            with session.request(**wanted, stream=True, timeout=ANSWERS_WITHIN_S) as answer:
                seen.take(what, answer)
        except (requests.exceptions.InvalidHeader, UnicodeError):
            # The client itself does not send such a one.
            return

    send()


def bearers_of(bench: Bench) -> dict[str, str]:
    """A token by whose it is; empty: none."""
    people = {role: bench.operators.token(role) for role in (*ROLES, "others")}
    return {**people, "service": bench.token(), "stranger": "made-up", "nobody": ""}


def test_no_interface_fails_and_every_refusal_is_a_problem(tmp_path: Path) -> None:
    cohort = choose(None, 3, seed=1)
    plan = BenchPlan(output_dir=tmp_path / "out", state_dir=tmp_path / "state", with_fleet=False)
    failures: list[Exception] = []
    seen = Seen()

    async def story() -> None:
        async with bench_up(
            plan, NoJournal(), SystemClock(), lambda name, said: None, failures.append
        ) as bench:
            await bench.import_manifest(cohort.manifest, cohort.content_type)
            await bench.operators.add("others", [{"tenant": "nobodys", "role": "controller"}])
            known = {one.component for one in OPERATIONS}
            for name in [each for each in bench.processes if each in known]:
                await asyncio.get_running_loop().run_in_executor(
                    None, ask_everything, name, bench.address(name, "http"), bearers_of(bench), seen
                )

    uvloop.run(story())
    assert seen.findings == []
    assert failures == []
    # Everything was come to: what may be done, and each way of being refused.
    assert {200, 401, 403} <= set(seen.statuses)
