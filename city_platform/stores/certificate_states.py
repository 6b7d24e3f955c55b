"""The life of a device's certificate, as a table."""

from __future__ import annotations

from typing import Final, Literal

from contracts.api import CertificateState

CertificateEvent = Literal["replaced", "revoked", "lifetime_elapsed"]

# What is missing in a row cannot happen to a certificate in that state. A revoked one stays so: its
# number leaves the list of revoked certificates when its lifetime has elapsed, not its state.
TRANSITIONS: Final[dict[CertificateState, dict[CertificateEvent, CertificateState]]] = {
    "active": {"replaced": "superseded", "revoked": "revoked", "lifetime_elapsed": "expired"},
    # Its device may still connect with it until it has the newer one.
    "superseded": {"revoked": "revoked", "lifetime_elapsed": "expired"},
    "revoked": {},
    "expired": {},
}


class ImpossibleCertificateEvent(ValueError):
    """A certificate in its state does not know this event."""


def next_state(state: CertificateState, event: CertificateEvent) -> CertificateState:
    """The state behind an event. Raises `ImpossibleCertificateEvent`."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        raise ImpossibleCertificateEvent(f"a certificate that is {state} cannot be {event}")
    return found
