"""Answers of the dashboard's interface that do not depend on the made-up city."""

from __future__ import annotations

from typing import Any

from fixture_city import NOW_US


def alarm(number: int, endpoint: str) -> dict[str, Any]:
    return {
        "id": number,
        "endpoint": endpoint,
        "tenant": "port_of_merrow",
        "path": "3416/0/5",
        "alarm": ("lamp_failure", "over_temperature", "overfilled")[number % 3],
        "severity": ("critical", "major", "minor")[number % 3],
        "state": "cleared" if number % 7 == 0 else "flapping" if number % 11 == 0 else "raised",
        "is_raised": number % 7 != 0,
        "source": "device",
        "raised_us": NOW_US - number * 90_000_000,
        "changed_us": NOW_US,
        "cleared_us": NOW_US if number % 7 == 0 else None,
        "received_us": NOW_US,
        "raises": 1 + number % 4,
        "value": 81.5 if number % 3 == 1 else None,
        "threshold": 75.0 if number % 3 == 1 else None,
        "acknowledged_us": None,
        "acknowledged_by": "",
        "note": "",
    }


def certificate(endpoint: str) -> dict[str, Any]:
    return {
        "sha256": "4f" * 32,
        "endpoint": endpoint,
        "state": "active",
        "serial_number": "1f",
        "expires_at_us": NOW_US + 86_400_000_000 * 200,
        "since_us": 0,
        "reason": "",
    }


def group() -> dict[str, Any]:
    return {
        "id": "grp-1",
        "state": "running",
        "operation": "write",
        "path": "/3416/0/1",
        "devices": 6000,
        "waiting": 2400,
        "states": {"succeeded": 3400, "refused": 120, "unknown": 20, "sent": 60},
        "rate_per_s": 20.0,
        "issued_at_us": NOW_US,
        "ends_at_us": NOW_US,
        "target": {"tenant": "port_of_merrow"},
        "issued_by": "maria",
    }


def row_errors() -> list[dict[str, Any]]:
    return [
        {
            "row": 7 + number,
            "endpoint": f"lamp-{number:04d}",
            "field": "latitude",
            "reason": "must be between -90 and 90, not '<b>x</b>'",
        }
        for number in range(12)
    ]
