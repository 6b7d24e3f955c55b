"""How devices and the LwM2M server know each other in a run."""

from __future__ import annotations

from typing import Literal

Security = Literal["psk", "x509", "none"]
# The first is what a run has when nobody says anything.
SECURITIES: tuple[Security, ...] = ("psk", "x509", "none")
