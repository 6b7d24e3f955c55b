"""Planted defects: what the server does wrong on purpose, so that a check can prove it notices."""

from __future__ import annotations

from contracts.data_interface import Command
from harness.lwm2m_server.config import Defect
from harness.lwm2m_server.gates import ISSUED_BY_CREDENTIALS


class Tamper:
    """`swap_credentials`: credentials meant for one of two endpoints are written to the other."""

    def __init__(self, defect: Defect | None) -> None:
        first, second = defect.endpoints if defect is not None else ("", "")
        self._other = {first: second, second: first} if defect is not None else {}

    def target(self, command: Command) -> str:
        """The endpoint whose device gets the request of this command."""
        if command.issued_by == ISSUED_BY_CREDENTIALS:
            return self._other.get(command.endpoint, command.endpoint)
        return command.endpoint

    def waiting_for(self, endpoint: str) -> str | None:
        """The endpoint whose commands may have waited for this one to register."""
        return self._other.get(endpoint)
