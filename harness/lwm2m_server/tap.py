"""What the data-interface tap records of commands, for the journal."""

from __future__ import annotations

from contracts.data_interface import Command, Outcome
from contracts.journal import CommandEnded, CommandReceived, CommandSent, DeviceBootstrapped
from harness.lwm2m_server.writer import TurnWriter


class CommandTap:
    """Records of commands, told once the turn's records are on disk."""

    def __init__(self, writer: TurnWriter) -> None:
        self._writer = writer

    def received(self, command: Command, *, repeated: bool) -> None:
        """A command came; `repeated` ones are answered with what is known of them."""
        writer = self._writer
        if not writer.is_tapped:
            return
        writer.observed.append(
            CommandReceived(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                operation=command.operation,
                path=command.path or "",
                repeated=repeated,
                issued_by=command.issued_by or "",
            )
        )

    def sent(self, command: Command, message_id: int) -> None:
        """The request of a command goes out with this turn."""
        writer = self._writer
        if not writer.is_tapped:
            return
        writer.observed.append(
            CommandSent(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                message_id=message_id,
            )
        )

    def ended(self, command: Command, outcome: Outcome) -> None:
        """A command has its outcome."""
        writer = self._writer
        if not writer.is_tapped:
            return
        writer.observed.append(
            CommandEnded(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                operation=command.operation,
                path=command.path or "",
                code=outcome.code or "",
                stage=outcome.error.stage if outcome.error is not None else "",
            )
        )

    def bootstrapped(self, endpoint: str, version: str) -> None:
        """The last command of a procedure succeeded."""
        writer = self._writer
        if not writer.is_tapped:
            return
        writer.observed.append(
            DeviceBootstrapped(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                endpoint=endpoint,
                version=version,
            )
        )
