"""Histograms count every latency to three digits, and other tools read them."""

from __future__ import annotations

import base64
import contextlib
import struct
import zlib
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.latency import (
    HIGHEST_US,
    QUANTILES,
    Histogram,
    MalformedHistogram,
    Second,
    by_second,
    decode,
    encode,
)

LATENCIES = st.lists(
    st.one_of(st.integers(0, 5_000), st.integers(0, HIGHEST_US), st.integers(-5, 2**40)),
    min_size=1,
    max_size=200,
)

# Written by the Python package hdrhistogram 0.10.8, whose counts are HdrHistogram_c's:
# `HdrHistogram(1, 3_600_000_000, 3)`, `record_value(value, count)` for each pair, `encode()`.
THEIRS = [
    (
        [
            *((value, 1) for value in (0, 1, 1_000, 2_047, 2_048, 2_049, 999_999, 1_000_000)),
            (5, 2),
            (3_600_000_000, 1),
        ],
        "HISTFAAAADN4nJNpmSzMwMAAwiDADKUZQcS1yUsY7D9ABJiYWFkO8zOtFmBi2d/HyLJ4DyMTAM+XCPA=",
    ),
    (
        [(100 * 2**n + n * n, 1 + n**5 * 7) for n in range(24)],
        "HISTFAAAAKB4nJNpmSzMwMBQxwABzFCaEURcm7yEwf4DROA4I9NxRoHJzIeYl7OdkTrN01Twlf/FVabv/IcusX3n"
        "X7KO7yd/U4PMT/4Du4x+8x/aGfqb/8+5Tsa//E0XrgDJGYv2Mv3lP3TiNPNf/isfOliB4g0N7H/5PyzYywkUP3+O"
        "5y//mueHBYDiG9aJ/uU/8WqhNFD83malv/wtz39rAQD+L0Wq",
    ),
    ([], "HISTFAAAABx4nJNpmSzMgADMUJoRRFybvITB/gNEAABQ2gSH"),
]


def recorded(latencies):
    histogram = Histogram()
    for latency in latencies:
        histogram.record(latency)
    return histogram


def kept(latency):
    return min(HIGHEST_US, max(0, latency))


@pytest.mark.parametrize(("pairs", "text"), THEIRS, ids=["few", "many", "none"])
def test_what_hdrhistogram_wrote_is_read_and_what_we_write_is_the_same(pairs, text):
    ours = Histogram()
    for value, count in pairs:
        ours.record(value, count)
    assert decode(text) == ours
    assert decode(encode(ours)) == ours
    assert inflated(encode(ours)) == inflated(text)


def inflated(text):
    """What was compressed: how well is the compressor's affair."""
    return zlib.decompress(base64.b64decode(text)[8:])


@settings(deadline=None, max_examples=25)
@given(LATENCIES)
def test_every_quantile_is_within_a_thousandth_of_the_true_one(latencies):
    histogram = recorded(latencies)
    ordered = sorted(map(kept, latencies))
    assert histogram.total == len(ordered)
    for ratio in (*QUANTILES, 1.0):
        true = ordered[max(0, ceil(ratio * len(ordered) - 1e-9) - 1)]
        assert true <= histogram.value_at(ratio) <= true * 1.001


@settings(deadline=None, max_examples=25)
@given(LATENCIES, LATENCIES)
def test_two_histograms_together_are_the_one_of_both(first, second):
    together = recorded(first)
    together.add(recorded(second))
    assert together == recorded([*first, *second])
    assert decode(encode(together)) == together


def test_an_empty_histogram_has_no_quantiles():
    assert Histogram().value_at(0.5) is None
    assert Histogram().max_us is None
    assert Histogram.of_ns([1_999, -5]).max_us == 1


OTHER_BOUNDS = "HISTFAAAACB4nJNpmSzMwMDAxAABMJoRTPI7Odh/gAhwMgEARecDFw=="


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no base64!", "not a histogram"),
        ("", "not a histogram"),
        ("AAAA", "not a histogram"),
        (base64.b64encode(struct.pack(">ii", 1, 0)).decode(), "version 2"),
        (THEIRS[0][1][:-8], "cut short"),
        (OTHER_BOUNDS, "2 digits from 1 to 1000000"),
    ],
)
def test_a_text_that_is_no_histogram_of_ours_is_refused(text, told):
    with pytest.raises(MalformedHistogram) as refused:
        decode(text)
    assert told in str(refused.value)


def packed(payload):
    header = struct.pack(">iiiiqqd", 0x1C849313, len(payload), 0, 3, 1, HIGHEST_US, 1.0)
    data = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", 0x1C849314, len(data)) + data).decode()


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_counts_do_worse_than_be_refused(payload):
    with contextlib.suppress(MalformedHistogram):
        assert decode(packed(payload)).total is not None


def test_latencies_are_told_by_the_second_in_which_work_was_meant_to_begin():
    work = [(10_000_000_000 + n * 100_000_000, 1_000_000 * n) for n in range(20)]
    first, second = by_second(work, 10_000_000_000)
    assert first == Second(0, 10, 4_000, 9_000, 9_000)
    assert second == Second(1, 10, 14_000, 19_000, 19_000)
    assert by_second(work, 10_000_000_000, piece_s=2) == [Second(0, 20, 9_000, 19_000, 19_000)]
    assert by_second([], 0) == []
