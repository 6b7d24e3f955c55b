"""Which messages of command and holder topics a bridge acts on; the others it counts by reason."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from city_platform.bridge.procedure import ID_PREFIX, ISSUED_BY
from city_platform.bridge.registry import Registry
from contracts.bridge_status import decode_notice
from contracts.data_interface import Holder, decode_command
from contracts.errors import ContractError


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


class _Cancel(msgspec.Struct, frozen=True):
    """As much of a `contracts.data_interface.Cancel` as must be right to pass it on."""

    type: Literal["cancel"]
    id: str


_kinds = msgspec.json.Decoder(_Kind)
_cancels = msgspec.json.Decoder(_Cancel)


class CommandGate:
    """Passes on what is for a device that this bridge's server holds, and only that."""

    def __init__(self, server: str, registry: Registry, counts: Counter[str]) -> None:
        self._server = server
        self._registry = registry
        self._counts = counts

    def passes(self, endpoint: str, payload: bytes) -> bool:
        """Whether the server is to get this message of one of the device's command topics."""
        if self._registry.get(endpoint) is None:
            self._counts["commands_not_held"] += 1
            return False
        # A command is what nearly all of them are: it is looked at once.
        reason = self._refusal(endpoint, payload)
        if reason == "malformed" and _is_cancel(payload):
            reason = None
        self._counts["commands_passed_on" if reason is None else f"commands_{reason}"] += 1
        return reason is None

    def supersede(self, endpoint: str, payload: bytes) -> bool:
        """Take a holder notice; whether a registration that was held here no longer counts."""
        try:
            notice = decode_notice(payload)
        except ContractError:
            self._counts["notices_malformed"] += 1
            return False
        is_ours = notice.holder.server == self._server
        if notice.endpoint != endpoint or is_ours:
            self._counts["notices_for_another"] += 1
            return False
        if not self._registry.supersede(endpoint, notice.registration_id):
            self._counts["notices_of_ended_registrations"] += 1
            return False
        self._counts["registrations_superseded"] += 1
        return True

    def _refusal(self, endpoint: str, payload: bytes) -> str | None:
        try:
            command = decode_command(payload)
        except ContractError:
            return "malformed"
        held = self._registry.get(endpoint)
        if command.endpoint != endpoint:
            return "for_another_endpoint"
        if command.id.startswith(ID_PREFIX) or command.issued_by == ISSUED_BY:
            return "with_a_reserved_id"
        if held is None or command.holder not in (
            None,
            Holder(self._server, held.registration_id),
        ):
            return "for_another_holder"
        return None


def _is_cancel(payload: bytes) -> bool:
    try:
        if _kinds.decode(payload).type != "cancel":
            return False
        # The bridge's own commands are taken back by nobody else.
        return not _cancels.decode(payload).id.startswith(ID_PREFIX)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
