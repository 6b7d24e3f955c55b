"""The benchmarks of telemetry and commands run, very small, and say what they promise."""

from __future__ import annotations

import pytest

from benchmarks.publishing import pack
from lwm2m.codecs.senml_cbor import resolve
from tests.benchmarks.test_benchmarks import line_of


def test_a_pack_is_what_a_lamp_reports_and_no_two_have_the_same_time() -> None:
    first, second = (resolve(pack("lamp-1", number), None) for number in (1, 2))
    assert [record.name for record in first] == [
        "lamp-1/3416/0/3",
        "lamp-1/3416/0/46",
        "lamp-1/3301/0/5700",
    ]
    assert first[0].time != second[0].time


@pytest.mark.slow
@pytest.mark.bench
def test_telemetry_tells_both_rates_and_that_nothing_was_lost() -> None:
    line = line_of("telemetry", "--devices", "5", "--packs", "8")
    assert line["packs"] == 40
    assert line["ratio"] > 0
    assert line["bare"]["per_s"] > 0
    stored = line["stored"]
    assert stored["per_s"] > 0
    assert (stored["lost"], stored["duplicates"], stored["conflicts"]) == (0, 0, 0)
    assert stored["readings"] == 120
    assert set(stored["cpu_us_per_pack"]) == {"broker", "fleet", "ingestion"}
    assert line["conditions"]["python"]


@pytest.mark.slow
@pytest.mark.bench
def test_reconnects_tell_who_resumed_a_session_and_that_no_pack_was_lost() -> None:
    line = line_of("reconnects", "--devices", "12", "--times", "2")
    assert (line["full"]["resumed"], line["resumed"]["resumed"]) == (0, 12)
    for way in ("full", "resumed"):
        assert (line[way]["attempts"], line[way]["lost"]) == (12, 0)
        assert len(line[way]["rates_per_s"]) == 2
        assert set(line[way]["cpu_us_per_device"]) == {"broker", "fleet", "ingestion"}
    rate, *others = line["bars"]
    # Twelve devices cannot show that the rate is met.
    assert rate["met"] is not True
    assert [bar["met"] for bar in others] == [True] * 3


@pytest.mark.slow
@pytest.mark.bench
def test_commands_tell_rate_and_round_trip_of_every_command() -> None:
    line = line_of("commands", "--devices", "10", "--rate", "20", "--seconds", "1")
    assert (line["posted"], line["unanswered"]) == (20, 0)
    assert line["codes"] == {"2.05": 20}
    trips = line["round_trip_ms"]
    assert 0 < trips["p50"] <= trips["p90"] <= trips["p99"] <= trips["max"]
