"""Arrivals are open, shuffled by the seed, and spread over the report interval."""

from fake_devices.fleet.arrivals import Intended, arrival_order, at_rate, phase_of


def test_the_order_depends_on_the_seed_alone():
    devices = [f"lamp-{number}" for number in range(50)]
    assert arrival_order(devices, 7) == arrival_order(devices, 7)
    assert arrival_order(devices, 7) != arrival_order(devices, 8)
    assert sorted(arrival_order(devices, 7)) == sorted(devices)


def test_devices_are_meant_to_start_at_the_rate():
    assert list(at_rate([4, 5, 6], 50.0)) == [
        Intended(0, "switch_on", 4),
        Intended(20_000_000, "switch_on", 5),
        Intended(40_000_000, "switch_on", 6),
    ]


def test_any_run_of_devices_is_spread_evenly():
    for first in (0, 977):
        phases = sorted(phase_of(number) for number in range(first, first + 200))
        gaps = [b - a for a, b in zip(phases, [*phases[1:], phases[0] + 1], strict=True)]
        assert max(gaps) < 3 / 200
