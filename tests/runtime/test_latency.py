"""Latency buckets: bounded error, merged as if counted at once."""

from __future__ import annotations

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from runtime.latency import bucket_of, count_delays_us, merge_buckets, percentile_of

delays = st.lists(st.integers(0, 10**11), min_size=1, max_size=200)


@given(st.integers(0, 2**50))
def test_a_bucket_holds_its_value_and_is_a_thirty_second_wide_at_most(value: int) -> None:
    largest = bucket_of(value)
    assert value <= largest <= value + value // 32
    assert bucket_of(largest) == largest


@given(st.integers(0, 2**40))
def test_buckets_are_in_order(value: int) -> None:
    assert bucket_of(value) <= bucket_of(value + 1)


@given(delays=delays, ratio=st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_at_most_a_bucket_above_the_true_ones(
    delays: list[int], ratio: float
) -> None:
    true_us = sorted(delays)[ceil(ratio * len(delays)) - 1] // 1_000
    found = percentile_of(count_delays_us(delays), ratio)
    assert found is not None
    assert true_us <= found <= true_us * 33 / 32


@given(first=delays, second=delays)
def test_samples_merge_to_what_counting_all_at_once_gives(
    first: list[int], second: list[int]
) -> None:
    merged = merge_buckets([count_delays_us(first), count_delays_us(second)])
    assert merged == count_delays_us(first + second)


def test_nothing_has_no_percentile() -> None:
    assert percentile_of([], 0.99) is None
