"""How the end of a command is told: the events of a fleet's credentials, a result for each write
and a bootstrap for each device, byte for byte as `Event` encodes them."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.data_interface import VERSION, Completes, Outcome


class ResultEvent(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="event", omit_defaults=True
):
    """An `Event` of kind `result`."""

    server: str
    epoch: str
    seq: int
    kind: Literal["result"]
    endpoint: str
    at_us: int
    registration_id: str | None = None
    result: Outcome | None = None
    # A factory, as in a frame: `omit_defaults` would leave a plain default out.
    v: int = msgspec.field(default_factory=lambda: VERSION)


class BootstrapEvent(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="event", omit_defaults=True
):
    """An `Event` of kind `bootstrap`."""

    server: str
    epoch: str
    seq: int
    kind: Literal["bootstrap"]
    endpoint: str
    at_us: int
    registration_id: str | None = None
    completed: Completes | None = None
    v: int = msgspec.field(default_factory=lambda: VERSION)
