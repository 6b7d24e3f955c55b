"""A scripted LwM2M server that can keep commands waiting, and takes them back."""

from __future__ import annotations

import msgspec

from contracts.data_interface import (
    Cancel,
    Command,
    ErrorFrame,
    Outcome,
    ResultError,
    Stage,
    decode_bridge_frame,
    encode,
)
from runtime.clock import SystemClock
from tests.city_platform.together.scripted_server import ScriptedServer, _Bridge


class PatientServer(ScriptedServer):
    """While `is_waiting`, commands wait as for a device that sleeps."""

    def __init__(self, name: str = "north") -> None:
        super().__init__(name)
        self.is_waiting = False
        self.waiting: dict[str, tuple[_Bridge, Command]] = {}
        self.cancels: list[str] = []

    def take(self, user: _Bridge, data: bytes) -> None:
        frame = decode_bridge_frame(data)
        if isinstance(frame, Cancel):
            self.cancels.append(frame.id)
            self._cancel(user, frame.id)
        else:
            super().take(user, data)
        self.changed.set()

    def go_on(self) -> None:
        """Carry out what waits."""
        self.is_waiting = False
        waiting, self.waiting = self.waiting, {}
        for user, command in waiting.values():
            super()._command(user, command)

    def _cancel(self, user: _Bridge, command_id: str) -> None:
        found = self.waiting.pop(command_id, None)
        if found is None:
            user.send(encode(ErrorFrame(detail="no such command", id=command_id)))
        else:
            self._end(found[1], "cancelled")

    def _command(self, user: _Bridge, command: Command) -> None:
        if command.id in self._outcomes or command.id in self.waiting:
            if command.id in self._outcomes:
                super()._command(user, command)
        elif command.expires_at_us <= SystemClock().wall_us():
            self._end(command, "expired")
        elif self.is_waiting:
            self.waiting[command.id] = (user, command)
        else:
            super()._command(user, command)

    def _end(self, command: Command, stage: Stage) -> None:
        outcome = Outcome(
            id=command.id, operation=command.operation, error=ResultError(stage, "as told")
        )
        self._outcomes[command.id] = (command.endpoint, msgspec.structs.replace(outcome))
        self._append("result", command.endpoint, result=outcome)
