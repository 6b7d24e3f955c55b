"""The tutorial's code and commands do what it says, against a real bench."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TUTORIAL = ROOT / "docs" / "tutorials" / "your_own_device.md"
PROGRAM = ROOT / "docs" / "tutorials" / "your_own_device.py"
WITHIN_S = 60.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND_ID = re.compile(r"cmd-[0-9a-f]+")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of one kind, in order."""
    return [text for found, text in _BLOCK.findall(TUTORIAL.read_text()) if found == kind]


def test_the_program_has_at_most_40_lines_and_is_shown_whole() -> None:
    program = PROGRAM.read_text()
    assert len(program.splitlines()) <= 40
    assert blocks("python")[0] == program


def test_the_manifest_is_shown_whole() -> None:
    assert blocks("csv") == [(TUTORIAL.parent / "my_devices.csv").read_text()]


class Shell:
    """The terminals of somebody who follows the tutorial."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        # As in a checkout: commands name files by their paths from its root.
        (folder / "docs").symlink_to(ROOT / "docs")
        self._stack = stack
        bin_folder = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        # By the address that the tutorial shows: the one that this bench has.
        self.addresses: dict[str, str] = {}
        self.settings = ""

    def real(self, command: str) -> str:
        """A command with the addresses of this bench."""
        for shown, actual in self.addresses.items():
            command = command.replace(shown, actual)
        return command

    def start(self, command: str) -> Terminal:
        """Run a command that stays."""
        terminal = Terminal(["bash", "-c", f"{self.settings}{self.real(command)}"], self)
        self._stack.callback(terminal.end)
        return terminal

    def run(self, command: str) -> str:
        """What a command that ends prints."""
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{self.settings}{self.real(command)}"],
            cwd=self.folder, env=self._environment, capture_output=True, text=True,
            timeout=WITHIN_S, check=True,
        )  # fmt: skip
        return done.stdout

    def spawn(self, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        """A process in a group of its own, which writes to `log`."""
        with log.open("wb") as file:
            return subprocess.Popen(
                arguments, cwd=self.folder, env=self._environment, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip


class Terminal:
    """A command that runs, and what it has printed."""

    def __init__(self, arguments: list[str], shell: Shell) -> None:
        self._log = shell.folder / f"terminal-{len(list(shell.folder.glob('terminal-*')))}"
        self._process = shell.spawn(arguments, self._log)

    def text(self) -> str:
        return self._log.read_text()

    def until(self, text: str) -> str:
        """All that it printed, once `text` is there."""
        due = time.monotonic() + WITHIN_S
        while time.monotonic() < due:
            found = self.text()
            if text in found:
                return found
            if self._process.poll() is not None:
                break
            os.sched_yield()
        raise AssertionError(f"{text!r} did not come:\n{self.text()}")

    def end(self) -> None:
        """Ctrl-C."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("curl") is None:
        pytest.skip("the tutorial's commands need curl")
    with contextlib.ExitStack() as stack:
        yield Shell(tmp_path, stack)


def learn_addresses(shell: Shell, printed: str) -> None:
    """Match what the tutorial shows that the bench prints with what this one printed."""
    shown = next(text for text in blocks("text") if text.startswith("The bench is up."))
    for name, scheme in (("LwM2M", "coaps"), ("control", "http"), ("ingestion", "http")):
        pattern = rf"^  {name} +({scheme}://[0-9.:]+)"
        there, here = (re.search(pattern, text, re.MULTILINE) for text in (shown, printed))
        assert there is not None
        assert here is not None
        shell.addresses[there[1]] = here[1]


def ended(shell: Shell, ask: str) -> dict[str, Any]:
    """What became of a command, once it has ended."""
    due = time.monotonic() + WITHIN_S
    while time.monotonic() < due:
        found: dict[str, Any] = json.loads(shell.run(ask))
        if found["state"] not in ("queued", "sent", "delivered"):
            return found
    raise AssertionError(f"the command did not end: {found}")


@pytest.mark.slow
@pytest.mark.bench
def test_the_device_bootstraps_reports_and_obeys_as_the_tutorial_says(shell: Shell) -> None:
    up, run, variables, read, ask, write, execute, feed, *_ = blocks("sh")
    bench = shell.start(up)
    learn_addresses(shell, bench.until("Provisioned endpoint names: room-17."))
    device = shell.start(run)
    device.until("connected: reports begin\n")

    shell.settings = shell.real(variables)
    for command, what in ((read, "read"), (write, "write"), (execute, "execute")):
        answer = json.loads(shell.run(command))
        assert answer["operation"] == what
        shown_id = _COMMAND_ID.search(ask)
        assert shown_id is not None
        record = ended(shell, ask.replace(shown_id[0], answer["id"]))
        assert record["state"] == "succeeded", record
        if what == "read":
            (value,) = record["outcome"]["values"]
            assert value["path"] == "/3303/0/5700"
            assert 17.9 < value["value"] < 26.1
    device.until("this is now room 18\n")
    device.until("the lowest and highest values were reset\n")

    stream = shell.start(feed)
    printed = stream.until('["room-17","/3304/0/5700"')
    first = json.loads(printed.splitlines()[0])
    assert first["kind"] == "commit"
    assert {reading[1] for reading in first["readings"]} == {"/3303/0/5700", "/3304/0/5700"}


@pytest.mark.slow
@pytest.mark.bench
def test_the_device_bootstraps_from_a_server_alone_as_the_tutorial_says(shell: Shell) -> None:
    serve, run = blocks("sh")[-2:]
    (last_line,) = (text for text in blocks("python") if "bootstrap_server" in text)
    program = PROGRAM.read_text().splitlines()
    assert program[-1] == last_line.strip().replace("bootstrap_server=server", "server")
    changed = shell.folder / "changed.py"
    changed.write_text("\n".join([*program[:-1], last_line]))

    # Ports of the tutorial's may be taken on this machine: free ones are asked for.
    free = "--coap-port 0 --coaps-port 0 --bootstrap-port 0 --bootstrap-secure-port 0 --trace"
    before, _, _ = serve.partition("lamplighter serve")
    shell.run(before)
    entries = shell.folder / "entries.ndjson"
    server = shell.start(f"lamplighter serve --keys keys.ndjson --state state {free}")
    printed = server.until("All routes")
    secure = re.findall(r"coaps://([0-9.:]+)", printed)
    admin = re.findall(r"http://([0-9.:]+)   its administration", printed)[-1]
    entry = entries.read_text().replace("127.0.0.1:5684", secure[0])
    shell.run(
        f'curl -sf -H "Authorization: Bearer $(cat state/token)" -X POST '
        f"-H 'Content-Type: application/x-ndjson' http://{admin}/v1/bootstrap -d '{entry.strip()}'"
    )
    command = run.replace("coaps://127.0.0.1:5784", f"coaps://{secure[1]}")
    shell.start(command.replace("docs/tutorials/your_own_device.py", str(changed)))
    trace = server.until("  Register\n")
    for said in ("Discover", "Delete", "PUT /0/1", "PUT /1/0", "POST /bs"):
        assert said in trace
    assert "0001020304" not in trace
    assert "AAECAw" not in trace.partition("All routes")[2]
