"""`lamplighter up`: what it prints works as it stands, and it keeps its folder to itself."""

from __future__ import annotations

import io
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from rich.console import Console

from harness.errors import ScenarioError
from harness.run_device import run_device
from harness.runner.keep_up import UpOptions, keep_up
from harness.security import Security
from tests.harness.commands_beside import Command, device_options


def up(
    out: Path, security: Security, console: Console, host: str = "127.0.0.1"
) -> Coroutine[Any, Any, None]:
    """Two devices, free ports."""
    return keep_up(UpOptions(security=security, devices=2, out=out, host=host), console)


@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.parametrize("security", ["psk", "x509", "none"])
def test_the_command_that_up_prints_brings_a_device_in(security: Security, tmp_path: Path) -> None:
    async def story() -> None:
        async with Command(lambda console: up(tmp_path, security, console)) as bench:
            line = await bench.until("lamplighter device (.*)")
            device = device_options(line[1])
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


@pytest.mark.slow
@pytest.mark.bench
def test_devices_come_in_by_another_address_of_this_machine(tmp_path: Path) -> None:
    async def story() -> None:
        async with Command(lambda console: up(tmp_path, "x509", console, "127.0.0.7")) as bench:
            line = await bench.until("lamplighter device (.*)")
            assert "coaps://127.0.0.7:" in line[1]
            await bench.until("mqtts://127.0.0.7:")
            device = device_options(line[1])
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "here", ""])
def test_an_address_that_devices_cannot_be_told_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ScenarioError, match="--host"):
        uvloop.run(up(tmp_path, "none", Console(file=io.StringIO()), host))


@pytest.mark.slow
@pytest.mark.bench
def test_a_second_one_in_the_same_folder_is_refused_and_leaves_the_logs(tmp_path: Path) -> None:
    async def story() -> None:
        async with Command(lambda console: up(tmp_path, "none", console)) as bench:
            await bench.until("The bench is up")
            logs = sorted((tmp_path / "up" / "logs").iterdir())
            with pytest.raises(ScenarioError, match="choose another folder with --out"):
                await up(tmp_path, "none", Console(file=io.StringIO()))
            assert sorted((tmp_path / "up" / "logs").iterdir()) == logs

    uvloop.run(story())


@pytest.mark.slow
@pytest.mark.bench
def test_a_second_one_with_the_same_state_is_refused_and_leaves_the_tokens(tmp_path: Path) -> None:
    file = tmp_path / "state" / "operator_tokens" / "controller"

    def kept(out: Path, console: Console) -> Coroutine[Any, Any, None]:
        options = UpOptions(security="none", devices=2, out=out, state=tmp_path / "state")
        return keep_up(options, console)

    async def story() -> None:
        async with Command(lambda console: kept(tmp_path / "first", console)) as bench:
            await bench.until("The bench is up")
            token = file.read_text()
            with pytest.raises(ScenarioError, match="choose another folder with --state"):
                await kept(tmp_path / "second", Console(file=io.StringIO()))
            assert file.read_text() == token

    uvloop.run(story())
