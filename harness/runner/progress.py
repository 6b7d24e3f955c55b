"""What a person sees while a run goes on: a live line on a terminal, nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.runner.live import Live

REFRESH_EVERY_S = 0.2


class Progress:
    """Shows phases and counts. Off a terminal it is silent but for warnings."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._phase = "starting the bench"
        self._live: Live | None = None

    @property
    def is_shown(self) -> bool:
        """Whether anybody looks."""
        return self._console.is_terminal

    def phase(self, name: str, live: Live) -> None:
        """The story has come to its next part."""
        self._phase, self._live = name, live

    def warn(self, text: str) -> None:
        """Say something that the verdict will explain."""
        if self.is_shown:
            self._console.print(Text(f"  ! {text}", style="yellow"))

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep the display fresh while the block runs."""
        if not self.is_shown:
            yield
            return
        with LiveDisplay(self._draw(), console=self._console, transient=True) as display:
            task = asyncio.create_task(self._refresh(display))
            try:
                yield
            finally:
                task.cancel()

    async def _refresh(self, display: LiveDisplay) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            display.update(self._draw())

    def _draw(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(Spinner("dots"), Text(self._phase, style="bold"), *self._counts())
        return grid

    def _counts(self) -> list[Text]:
        live = self._live
        if live is None:
            return []
        return [
            Text(f"{name} {count}/{self._total}", style="green" if count >= self._total else "")
            for name, count in (
                ("started", live.started),
                ("registered", live.registered),
                ("connected", live.connected),
                ("online", len(live.online)),
            )
        ] + [Text(f"readings stored {live.stored:,}")]
