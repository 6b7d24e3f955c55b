"""The procedures that run at one bridge: begins, continues and drops them; holds their secrets.

A document lives only as long as its procedure; nothing here is ever logged.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from city_platform.bridge.procedure import CredentialsProcedure, Progress
from city_platform.bridge.registry import Held, Registry
from contracts.credentials import (
    CredentialsDocument,
    SealedCredentials,
    decode_document,
    decode_sealed,
)
from contracts.data_interface import Completes, Outcome, encode
from contracts.errors import ContractError

# `value` of an Enum is computed in Python.
_COUNTED: Final = {progress: f"credentials_{progress.value}" for progress in Progress}

# Opens a compact JWE; raises `ValueError` when it cannot be opened.
OpenSealed = Callable[[str], bytes]


class CredentialsDesk:
    """At most one procedure per device and `procedures_max` in all; a bounded number waits."""

    def __init__(
        self, server: str, open_sealed: OpenSealed, registry: Registry, counts: Counter[str], *,
        procedures_max: int, waiting_max: int, tries_max: int, expires_in_us: int, grace_us: int,
    ) -> None:  # fmt: skip
        self._server = server
        self._open_sealed = open_sealed
        self._registry = registry
        self._counts = counts
        self._procedures_max = procedures_max
        self._waiting_max = waiting_max
        self._tries_max = tries_max
        self._expires_in_us = expires_in_us
        self._grace_us = grace_us
        self._running: dict[str, CredentialsProcedure] = {}
        # Insertion order is deadline order: every deadline is as far away as the others.
        self._deadlines_us: OrderedDict[str, int] = OrderedDict()
        # By device: what was driven again while it waited is the same, or newer.
        self._waiting: OrderedDict[str, bytes] = OrderedDict()
        self._completed: Completes | None = None

    @property
    def running(self) -> int:
        """How many devices' credentials are being written."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for others to end."""
        return len(self._waiting)

    def begin(self, endpoint: str, payload: bytes, now_us: int) -> list[bytes]:
        """Check what came on a credentials topic and start writing it: the first command.

        Beyond `procedures_max` it waits, still sealed; beyond `waiting_max` it is dropped.
        """
        if endpoint in self._running:
            # Before it is opened: under overload this is what most of it would be.
            self._counts["credentials_already_running"] += 1
            return []
        if len(self._running) < self._procedures_max:
            return self._begun(endpoint, payload, now_us)
        if endpoint in self._waiting:
            self._counts["credentials_waiting_already"] += 1
            self._waiting[endpoint] = payload
        elif len(self._waiting) < self._waiting_max:
            self._waiting[endpoint] = payload
        else:
            self._counts["credentials_over_limit"] += 1
        return []

    def handle_outcome(
        self, endpoint: str, outcome: Outcome, *, is_stored: bool, now_us: int
    ) -> list[bytes]:
        """Continue the device's procedure if this is what it waits for: the next command."""
        procedure = self._running.get(endpoint)
        if procedure is None or procedure.pending_id != outcome.id:
            self._counts["credentials_outcomes_ignored"] += 1
            return []
        progress = procedure.handle_outcome(outcome, is_stored=is_stored)
        if progress is Progress.RUNNING:
            return [self._ask(procedure, now_us)]
        self._counts[_COUNTED[progress]] += 1
        if progress is Progress.COMPLETED and is_stored:
            self._completed = Completes("credentials", procedure.version)
        self._drop(endpoint)
        return self.begin_waiting(now_us)

    def begin_waiting(self, now_us: int) -> list[bytes]:
        """Start what waited for others to end: the first commands."""
        frames: list[bytes] = []
        while self._waiting and len(self._running) < self._procedures_max:
            endpoint = next(iter(self._waiting))
            payload = self._waiting.pop(endpoint)
            frames += self._begun(endpoint, payload, now_us)
        return frames

    def completed_from_store(self) -> Completes | None:
        """What the last outcome completed, when the server had it from before; told once."""
        completed, self._completed = self._completed, None
        return completed

    def handle_refusal(self, command_id: str) -> None:
        """The server did not take a command, so the procedure ends; the handler drives again."""
        for endpoint, procedure in self._running.items():
            if procedure.pending_id == command_id:
                self._counts["credentials_refused_by_server"] += 1
                self._drop(endpoint)
                return

    def pending_frames(self, now_us: int) -> list[bytes]:
        """Every command that is waited for, again: the server answers a repeated id."""
        return [self._ask(procedure, now_us) for procedure in list(self._running.values())]

    def drop_if_ended(self, endpoint: str) -> bool:
        """Drop the device's procedure when its registration is no longer the one it is for."""
        procedure = self._running.get(endpoint)
        if procedure is None or self._registry.holds(endpoint, procedure.registration_id):
            return False
        self._counts["credentials_registration_ended"] += 1
        self._drop(endpoint)
        return True

    def drop_ended(self) -> None:
        """The same for all devices, after a snapshot."""
        for endpoint in list(self._running):
            self.drop_if_ended(endpoint)

    def next_deadline_us(self) -> int | None:
        """When the next outcome is overdue."""
        return next(iter(self._deadlines_us.values()), None)

    def give_up_overdue(self, now_us: int) -> None:
        """Drop procedures whose outcome is overdue; the handler drives again."""
        for endpoint, deadline_us in list(self._deadlines_us.items()):
            if deadline_us > now_us:
                return
            self._counts["credentials_overdue"] += 1
            self._drop(endpoint)

    def _begun(self, endpoint: str, payload: bytes, now_us: int) -> list[bytes]:
        reason, procedure = self._checked(endpoint, payload, now_us)
        self._counts[f"credentials_{reason}"] += 1
        if procedure is None:
            return []
        self._running[endpoint] = procedure
        return [self._ask(procedure, now_us)]

    def _ask(self, procedure: CredentialsProcedure, now_us: int) -> bytes:
        expires_at_us = now_us + self._expires_in_us
        self._deadlines_us.pop(procedure.endpoint, None)
        self._deadlines_us[procedure.endpoint] = expires_at_us + self._grace_us
        return encode(procedure.command(expires_at_us))

    def _drop(self, endpoint: str) -> None:
        del self._running[endpoint]
        self._deadlines_us.pop(endpoint, None)

    def _checked(
        self, endpoint: str, payload: bytes, now_us: int
    ) -> tuple[str, CredentialsProcedure | None]:
        try:
            sealed = decode_sealed(payload)
        except ContractError:
            return "malformed", None
        held = self._registry.get(endpoint)
        if sealed.endpoint != endpoint or sealed.server != self._server:
            return "for_another", None
        if held is None:
            return "not_held", None
        if held.registration_id != sealed.registration_id:
            return "for_another_registration", None
        if endpoint in self._running:
            return "already_running", None
        return self._opened(sealed, held, now_us // self._expires_in_us)

    def _opened(
        self, sealed: SealedCredentials, held: Held, window: int
    ) -> tuple[str, CredentialsProcedure | None]:
        try:
            document: CredentialsDocument = decode_document(self._open_sealed(sealed.sealed))
        except ValueError:
            return "cannot_be_opened", None
        if (document.endpoint, document.version) != (sealed.endpoint, sealed.version):
            return "for_another", None
        procedure = CredentialsProcedure(
            self._server, held.registration_id, document, held, self._tries_max, window
        )
        return "begun", procedure
