"""Commands of ours that run beside a test, and the command lines that they print."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.run_device import DeviceOptions
from tests.processes import WITHIN_S


class Command:
    """A command that runs beside the test: what it tells can be waited for, and then it ends."""

    def __init__(self, work: Callable[[Console], Coroutine[Any, Any, None]]) -> None:
        self._changed = asyncio.Event()
        self._text = io.StringIO()
        self._text.write = self._write  # type: ignore[method-assign]  # to hear of what is written
        console = Console(file=self._text, width=200, no_color=True)
        self._task = asyncio.ensure_future(work(console))
        self._task.add_done_callback(lambda _: self._changed.set())

    def _write(self, text: str) -> int:
        self._changed.set()
        return io.StringIO.write(self._text, text)

    async def __aenter__(self) -> Command:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, pattern: str) -> re.Match[str]:
        """Where its text matches, once it does."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while (found := re.search(pattern, self._text.getvalue())) is None:
                    if self._task.done():
                        await self._task
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            raise AssertionError(f"what was told is {self._text.getvalue()!r}") from None
        return found


def device_options(command_line: str) -> DeviceOptions:
    """What a printed command line for a device says."""
    words = shlex.split(command_line)
    said = dict(zip(words[::2], words[1::2], strict=True))
    texts = {"--endpoint", "--model", "--identity", "--server", "--bootstrap"}
    files = {name: Path(said[name]) for name in said.keys() - texts}
    return DeviceOptions(
        model=said.get("--model", "street_lamp"),
        identity=said.get("--identity", ""),
        endpoint=said["--endpoint"],
        server=said.get("--server", ""),
        bootstrap_server=said.get("--bootstrap", ""),
        psk_file=files.get("--psk"),
        certificate_file=files.get("--certificate"),
        key_file=files.get("--key"),
        trust_anchors_file=files.get("--trust"),
    )
