"""Prints a live trace of decoded messages: who, which way, what it is, and its values."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from lwm2m.transport.tracing import TracedMessage
from runtime.clock import Clock

_INDENT = " " * 15


class TracePrinter:
    """A line per message and an indented line per value; colours where the console has them.

    `--trace` is for one peer or a few: past `lines_per_s_max` lines in a second it says how many
    messages it left out, so that a flood cannot make the traced program wait for its terminal.
    """

    def __init__(self, console: Console, clock: Clock, *, lines_per_s_max: int = 2_000) -> None:
        self._console = console
        self._clock = clock
        self._lines_per_s_max = lines_per_s_max
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def tell(self, message: TracedMessage) -> None:
        """Print one message."""
        now_us = self._clock.wall_us()
        second = now_us // 1_000_000
        if second != self._second:
            self._second, self._lines = second, 0
            self._say_left_out()
        if self._lines >= self._lines_per_s_max:
            self._left_out += 1
            return
        self._lines += 1 + len(message.content)
        self._print(message, now_us)

    def _print(self, message: TracedMessage, now_us: int) -> None:
        stamp = datetime.fromtimestamp(now_us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
        arrow, style = ("→", "cyan") if message.sent else ("←", "green")
        line = Text(f"{stamp} ", style="dim")
        line.append(f"{arrow} {message.address}", style=style)
        line.append(f" {message.security} " if message.security != "nosec" else " ", style="dim")
        headline, _, meaning = message.headline.partition(" — ")
        line.append(headline)
        if meaning:
            line.append(f"  {meaning}", style="bold")
        self._console.print(line, soft_wrap=True)
        for value in message.content:
            self._console.print(Text(_INDENT + value, style="dim"), soft_wrap=True)

    def _say_left_out(self) -> None:
        if self._left_out:
            text = Text(f"{_INDENT}… {self._left_out} messages were not shown", style="yellow")
            self._console.print(text)
            self._left_out = 0
