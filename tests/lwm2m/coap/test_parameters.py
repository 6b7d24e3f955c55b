"""Parameters that cannot work are refused when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from lwm2m.coap import TransmissionParameters


@pytest.mark.parametrize(
    "changed",
    [
        {"block_size": 100},
        {"token_bytes": 0},
        {"ack_timeout_s": 0.0},
        {"ack_random_factor": 0.9},
        {"max_retransmit": -1},
        {"nstart": 0},
        {"pending_per_peer_max": 0},
        {"remembered_per_peer_max": 0},
        {"remembered_max": 0},
        {"payload_bytes_max": 0},
        {"transfers_per_peer_max": 0},
        {"peers_max": 0},
        {"requests_burst": 0},
        {"non_notification_burst": 0},
        {"transfers_max": -1},
        {"observations_max": -1},
        {"requests_per_s": -1.0},
        {"amplification_factor": -1.0},
        {"amplification_floor_bytes": 63},
        {"probing_rate_bytes_per_s": 0.0},
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_refused_by_name(changed: dict[str, Any]) -> None:
    [name] = changed
    with pytest.raises(ValueError, match=name):
        TransmissionParameters(**changed)


def test_the_derived_times_are_those_of_rfc_7252() -> None:
    # RFC 7252 §4.8.2.
    standard = TransmissionParameters()
    assert standard.max_transmit_span_s == 45
    assert standard.max_transmit_wait_s == 93
    assert standard.exchange_lifetime_s == 247
    assert standard.non_lifetime_s == 145
