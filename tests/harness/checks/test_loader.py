"""A loader that passes a stated limit is saturated, whatever work and process it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.journal import LoopSample
from contracts.load import LagSample, LoaderLimits, LoadPlanned
from harness import checks
from harness.checks import Check, Verdict
from harness.journal import Journal

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled

MS = 1_000_000


def _judge(spoiled: Spoiled, check: Check) -> Verdict:
    return check(Journal(spoiled.records))


def test_work_that_was_issued_late_is_saturation_whatever_its_kind(good: Spoiled) -> None:
    late = LagSample(
        at_ns=1, process="runner", kind="command", lags=[(100, 90), (80_000, 10)], lag_max_ns=8 * MS
    )
    told = _judge(good.add(late), checks.loader_kept_up)
    assert told.outcome == "inconclusive"
    assert "command lag p99 80.0 ms, over 50 ms" in told.summary
    on_time = msgspec.structs.replace(late, lags=[(100, 100)], missed=3)
    assert "command lag p99 0.1 ms" in _judge(good.add(on_time), checks.loader_kept_up).summary


def test_the_limits_are_those_that_the_profile_states(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    slow = good.drop(LoopSample, process="fleet").add(
        msgspec.structs.replace(
            sample, delays=[(25_000, 100)], delay_max_ns=60 * MS, socket_drops=2
        )
    )
    generous = LoaderLimits(loop_delay_p99_ms=30.0, socket_drops=2)
    planned = LoadPlanned(at_ns=1, profile="dusk", began_ns=1, limits=generous)
    assert _judge(slow, checks.loader_kept_up).outcome == "inconclusive"
    assert _judge(slow.add(planned), checks.loader_kept_up).outcome == "holds"
    strict = LoaderLimits(loop_delay_p99_ms=30.0, loop_delay_max_ms=50.0, socket_drops=2)
    stated = msgspec.structs.replace(planned, limits=strict)
    told = _judge(slow.add(stated), checks.loader_kept_up).summary
    assert "loop delay max 60.0 ms, over 50 ms" in told


def test_every_fleet_process_is_watched(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    second = msgspec.structs.replace(sample, process="fleet-2", socket_drops=1)
    assert "1 datagrams dropped" in _judge(good.add(second), checks.loader_kept_up).summary
    others = msgspec.structs.replace(sample, process="server", socket_drops=1)
    assert _judge(good.add(others), checks.loader_kept_up).outcome == "holds"
