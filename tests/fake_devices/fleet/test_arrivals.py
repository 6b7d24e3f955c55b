"""Arrivals are open, shuffled by the seed, and spread over the report interval."""

from fake_devices.fleet.arrivals import arrival_order, intended_at_ns, phase_of


def test_the_order_depends_on_the_seed_alone():
    devices = [f"lamp-{number}" for number in range(50)]
    assert arrival_order(devices, 7) == arrival_order(devices, 7)
    assert arrival_order(devices, 7) != arrival_order(devices, 8)
    assert sorted(arrival_order(devices, 7)) == sorted(devices)


def test_devices_are_meant_to_start_at_the_rate():
    assert [intended_at_ns(number, 1_000, 50.0) for number in range(3)] == [
        1_000,
        20_001_000,
        40_001_000,
    ]


def test_any_run_of_devices_is_spread_evenly():
    for first in (0, 977):
        phases = sorted(phase_of(number) for number in range(first, first + 200))
        gaps = [b - a for a, b in zip(phases, [*phases[1:], phases[0] + 1], strict=True)]
        assert max(gaps) < 3 / 200
