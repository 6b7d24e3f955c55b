"""A loader that passes a stated limit is saturated, whatever work and process it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from contracts.journal import DeviceStarted, LoopSample
from contracts.load import LagSample, LoaderLimits, LoadPlanned
from harness import checks
from tests.harness.checks.judging import LAMP, judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled

MS = 1_000_000


def test_work_that_was_issued_late_is_saturation_whatever_its_kind(good: Spoiled) -> None:
    late = LagSample(
        at_ns=1, process="runner", kind="command", lags=[(100, 90), (80_000, 10)], lag_max_ns=8 * MS
    )
    told = judge(good.add(late), checks.loader_kept_up)
    assert told.outcome == "inconclusive"
    assert "command lag p99 80.0 ms, over 50 ms" in told.summary
    on_time = msgspec.structs.replace(late, lags=[(100, 100)], missed=3)
    assert "command lag p99 0.1 ms" in judge(good.add(on_time), checks.loader_kept_up).summary


def test_the_limits_are_those_that_the_profile_states(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    slow = good.drop(LoopSample, process="fleet").add(
        msgspec.structs.replace(
            sample, delays=[(25_000, 100)], delay_max_ns=60 * MS, socket_drops=2
        )
    )
    generous = LoaderLimits(loop_delay_p99_ms=30.0, socket_drops=2)
    planned = LoadPlanned(at_ns=1, profile="dusk", began_ns=1, limits=generous)
    assert judge(slow, checks.loader_kept_up).outcome == "inconclusive"
    assert judge(slow.add(planned), checks.loader_kept_up).outcome == "holds"
    strict = LoaderLimits(loop_delay_p99_ms=30.0, loop_delay_max_ms=50.0, socket_drops=2)
    stated = msgspec.structs.replace(planned, limits=strict)
    told = judge(slow.add(stated), checks.loader_kept_up).summary
    assert "loop delay max 60.0 ms, over 50 ms" in told


def test_every_fleet_process_is_watched(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    second = msgspec.structs.replace(sample, process="fleet-2", socket_drops=1)
    assert "1 datagrams dropped" in judge(good.add(second), checks.loader_kept_up).summary
    others = msgspec.structs.replace(sample, process="server", socket_drops=1)
    assert judge(good.add(others), checks.loader_kept_up).outcome == "holds"


def test_a_loader_that_started_devices_late_is_saturated(good: Spoiled) -> None:
    started = good.find(DeviceStarted, endpoint=LAMP)
    late = good.swap(started, at_ns=started.intended_at_ns + 80_000_000)
    verdict = judge(late, checks.loader_kept_up)
    assert verdict.outcome == "inconclusive"
    assert verdict.about == "loader"
    assert "start lag p99 80.0 ms, over 50 ms" in verdict.summary


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"delays": [(100, 90), (25_000, 10)]}, "loop delay p99 25.0 ms"),
        ({"socket_drops": 3}, "3 datagrams dropped"),
    ],
)
def test_late_timers_and_drops_are_saturation(
    good: Spoiled, fields: dict[str, object], fault: str
) -> None:
    sample = good.find(LoopSample, process="fleet")
    alone = good.drop(LoopSample, process="fleet").add(sample)
    assert fault in judge(alone.swap(sample, **fields), checks.loader_kept_up).summary


def test_one_late_sample_among_many_is_weighed_by_its_timers(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    spoiled = good.swap(sample, delays=[(100, 90), (25_000, 10)])
    assert judge(spoiled, checks.loader_kept_up).outcome == "holds"


def test_without_bucketed_delays_the_median_sample_counts(good: Spoiled) -> None:
    spoiled = good.drop(LoopSample, process="fleet").add(
        *(
            LoopSample(at_ns=n, process="fleet", delay_p99_ns=ms * 1_000_000, delay_max_ns=0)
            for n, ms in enumerate((1, 25, 30))
        )
    )
    assert "loop delay p99 25.0 ms" in judge(spoiled, checks.loader_kept_up).summary
