"""Numbers in a manifest that no installer means."""

from __future__ import annotations

import pytest

from contracts.manifest import InvalidField, read_row

ROW: dict[str, object] = {
    "endpoint": "lamp-1",
    "serial": "s",
    "model": "street_lamp",
    "tenant": "t",
    "site": "s",
    "street": "st",
    "latitude": "50",
    "longitude": "8",
    "installed_on": "2026-05-31",
    "psk_identity": "p",
}


@pytest.mark.parametrize("latitude", ["1_0", "٣", "nan", "inf", "0x10", 10**400, True, [], "91"])
def test_a_latitude_that_is_no_plain_number_is_refused(latitude: object) -> None:
    with pytest.raises(InvalidField, match="latitude"):
        read_row(ROW | {"latitude": latitude})


@pytest.mark.parametrize("latitude", ["-53.5446884", "1e1", 8, 8.5, " 7 ", "90"])
def test_a_plain_number_is_taken(latitude: object) -> None:
    assert read_row(ROW | {"latitude": latitude}).latitude == float(str(latitude))
