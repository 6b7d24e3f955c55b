"""The commands of the quickstart that bring programs of others in, as they stand there."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest
import uvloop

from harness.serve import ServeOptions, serve
from tests.harness.commands_beside import Command
from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[2]
_BLOCK = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "quickstart.md").read_text(), re.DOTALL)
assert _BLOCK is not None
COMMANDS = re.findall(r"^(?:.*\\\n)*.*[^\\\n]$", _BLOCK[1], re.MULTILINE)
# As the page says to call `serve`, and as its own defaults are.
PORTS = {"coap": "5683", "coaps": "5684", "coap+tcp": "5685"}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.split("?")[1][10:30])
def test_a_program_of_others_registers_by_the_command_of_the_page(
    command: str, tmp_path: Path
) -> None:
    program = command.split()[0].replace(".venv/bin", str(Path(sys.executable).parent))
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")

    async def story() -> None:
        options = ServeOptions(
            state=tmp_path / "state", devices=("lamp-1",), tcp_port=0, trace=True
        )
        async with Command(lambda console: serve(options, console)) as servers:
            text = (await servers.until(r"(?s).*All routes"))[0]
            real = command.replace(command.split()[0], program)
            for scheme, shown in PORTS.items():
                found = re.search(rf"{re.escape(scheme)}://127\.0\.0\.1:(\d+)", text)
                assert found is not None
                real = real.replace(f"{scheme}://127.0.0.1:{shown}", found[0])
            process = await asyncio.create_subprocess_exec("bash", "-c", real, cwd=tmp_path)
            await asyncio.wait_for(process.wait(), WITHIN_S)
            endpoint = re.search("ep=([a-z0-9-]+)", command)
            assert endpoint is not None
            if "tcp" not in command:  # a trace is of datagrams
                await servers.until(rf"ep={endpoint[1]}.* Register")
                await servers.until(r"2\.01 /rd/")
        assert process.returncode == 0

    uvloop.run(story())


def test_all_kinds_of_programs_are_there() -> None:
    assert len(COMMANDS) == 4
