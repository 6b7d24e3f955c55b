"""The reference page has every state, result and protocol."""

from __future__ import annotations

from lwm2m.firmware import PROTOCOLS, STATE_NUMBERS, FirmwareResult
from lwm2m.firmware.reference import firmware_page


def test_the_page_has_every_number() -> None:
    page = firmware_page()
    assert "stateDiagram-v2" in page
    for state, number in STATE_NUMBERS.items():
        assert f"| {number} | {state} |" in page
    for scheme, number in PROTOCOLS.items():
        assert f"| {number} | {scheme} |" in page
    assert page.count("\n| 11 |") == 1
    assert FirmwareResult.UPDATE_FAILED.name.lower().replace("_", " ") in page
