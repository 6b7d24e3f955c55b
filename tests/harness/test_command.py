"""The `lamplighter` command: how it ends when it is interrupted early, fails, or is refused."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli

NAME = "onboarding.city_block_comes_online"

_LOADS_AND_SIGNALS = """
import importlib.abc, os, signal, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "harness.cli":
            os.kill(os.getpid(), signal.SIGINT)

from harness.command import main
sys.meta_path.insert(0, Interrupts())
sys.argv = ["lamplighter", "list"]
main()
"""


def test_the_list_indents_all_lines_of_a_claim(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cli.list_scenarios()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    names = [line for line in lines if not line.startswith("    ")]
    assert len(lines) > 3 * len(names)
    assert all(re.match(r"[a-z_]+\.[a-z0-9_]+  [\d,]+ device", name) for name in names)


def test_ctrl_c_while_it_loads_is_one_line_and_exit_3() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADS_AND_SIGNALS], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "lamplighter: interrupted: what was started has been ended, and nothing is judged\n"
    )


_FAILS = """
import importlib.abc, sys

class Fails(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "harness.cli":
            raise {error}

from harness.command import main
sys.meta_path.insert(0, Fails())
main()
"""


def _failing(error: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if name != "LAMPLIGHTER_LOG"}
    return subprocess.run(
        [sys.executable, "-c", _FAILS.format(error=error)],
        capture_output=True, text=True, timeout=60, env=clean | environment,
    )  # fmt: skip


def test_what_nobody_foresaw_is_one_line_and_exit_3_and_no_verdict() -> None:
    done = _failing('RuntimeError("a [/b]\\nthat nobody opened")')
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "lamplighter: this is a fault of Lamplighter, and nothing is judged: RuntimeError: "
        "a [/b] that nobody opened; run it again with LAMPLIGHTER_LOG=DEBUG for the traceback\n"
    )


def test_its_traceback_is_told_when_it_is_asked_for() -> None:
    done = _failing('RuntimeError("odd")', LAMPLIGHTER_LOG="DEBUG")
    assert done.returncode == 3
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith(
        "this is a fault of Lamplighter, and nothing is judged: RuntimeError: odd\n"
    )


def test_too_little_memory_is_one_line_and_exit_3() -> None:
    done = _failing("MemoryError()")
    assert done.returncode == 3
    assert done.stderr == (
        "lamplighter: there is not enough memory: ask for less, or fewer devices\n"
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", NAME, "--manifest", "/dev/zero"], "it is no regular file"),
        (["run", NAME, "--manifest", "/"], "Is a directory"),
        (["run", NAME, "--rate", "1e-9", "--devices", "2"], "days to be switched on"),
        (["run", NAME, "--defect", "misroute_one", "--devices", "1"], "needs two devices or more"),
        (["run", NAME, "--defect", "swap_credentials", "--devices", "1"], "two devices or more"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["lamplighter", *arguments, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", "--security", "rot13"], "Invalid value for '--security': 'rot13' is not one of"),
        (["device", "--server", "coap://h:99999"], "--server: "),
        (["device", "--server", "coap://h:1", "--lifetime", "-5"], "--lifetime -5: choose 1"),
    ],
)
def test_what_serve_and_device_refuse_is_one_line_about_the_option(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["lamplighter", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"lamplighter: {told}")


def test_a_full_disk_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.fail_of_os(OSError(errno.ENOSPC, "No space left on device", "/state/server"))
    assert ended.value.code == 3
    assert "free space there, or choose a folder on another disk" in capsys.readouterr().err
