"""`lamplighter serve` and `lamplighter device`: what is told is enough for a device to come in."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from rich.console import Console

from harness.errors import ScenarioError
from harness.run_device import DeviceOptions, run_device
from harness.security import Security
from harness.serve import ServeOptions, how_to_use, serve
from runtime.component import ConfigError


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
            async with asyncio.timeout(30):
                while (found := re.search(pattern, self._text.getvalue())) is None:
                    if self._task.done():
                        await self._task
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            raise AssertionError(f"what was told is {self._text.getvalue()!r}") from None
        return found


def _device_options(command_line: str) -> DeviceOptions:
    """What the command line that `serve` prints for a device says."""
    words = shlex.split(command_line)
    said = dict(zip(words[::2], words[1::2], strict=True))
    files = {name: Path(said[name]) for name in said.keys() - {"--endpoint", "--server"}}
    return DeviceOptions(
        model="street_lamp",
        endpoint=said["--endpoint"],
        server=said["--server"],
        psk_file=files.get("--psk"),
        certificate_file=files.get("--certificate"),
        key_file=files.get("--key"),
        trust_anchors_file=files.get("--trust"),
    )


@pytest.mark.parametrize("security", ["psk", "x509", "none"])
def test_the_command_that_serve_prints_for_a_device_brings_it_in(
    security: Security, tmp_path: Path
) -> None:
    async def story() -> None:
        options = ServeOptions(
            security=security, state=tmp_path, devices=("lamp-1",), tcp_port=0, tls_port=0
        )
        async with Command(lambda console: serve(options, console)) as servers:
            await servers.until(r"coap\+tcp://127.*\n.*coaps\+tcp://127")
            line = await servers.until("lamplighter device (.*)")
            device = _device_options(line[1])
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


def test_credentials_that_were_made_stay_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        options = ServeOptions(state=tmp_path, devices=("lamp-1",))
        for _ in range(2):
            async with Command(lambda console: serve(options, console)) as servers:
                await servers.until("All routes")
            keys.append((tmp_path / "lwm2m_pki" / "devices" / "lamp-1.psk").read_text())

    keys: list[str] = []
    uvloop.run(story())
    assert keys[0] == keys[1]


def test_a_device_tells_why_its_bootstrap_is_refused() -> None:
    async def story() -> None:
        nobody = ServeOptions(security="none")
        async with Command(lambda console: serve(nobody, console)) as servers:
            where = await servers.until(r"bootstrap server +(coap://\S+)")
            options = DeviceOptions(model="street_lamp", bootstrap_server=where[1])
            async with Command(lambda console: run_device(options, console)) as lamp:
                await lamp.until(r"refused: 4\.00 not known here")

    uvloop.run(story())


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("00" * 16)
    file.chmod(0o644)
    options = DeviceOptions(model="street_lamp", server="coaps://127.0.0.1:1", psk_file=file)
    with pytest.raises(ConfigError, match="0600"):
        uvloop.run(run_device(options, Console(file=io.StringIO())))


def test_a_key_in_hexadecimal_is_not_taken_for_base64(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text('{"endpoint": "a", "identity": "a", "key": "' + "0a" * 16 + '"}\n')
    file.chmod(0o600)
    options = ServeOptions(state=tmp_path / "state", keys_file=file)
    with pytest.raises(ScenarioError, match="line 1: key of a: it is in hexadecimal"):
        uvloop.run(serve(options, Console(file=io.StringIO())))


def test_no_example_names_the_wildcard_that_is_listened_on(tmp_path: Path) -> None:
    options = ServeOptions(host="0.0.0.0", devices=("lamp-1",))
    server = {"coap": "0.0.0.0:5683", "coaps": "0.0.0.0:5684", "admin": "127.0.0.1:80"}
    text = how_to_use(server, server, tmp_path, options)
    assert "--server coaps://127.0.0.1:5684" in text
    assert '"uri": "coaps://127.0.0.1:5684"' in text
