"""The private directory of a bench goes with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.bench.state import keep, temporary_state
from tests.processes import WITHIN_S, line_of, running

_HOLD = (
    "from harness.bench.state import temporary_state\n"
    "with temporary_state() as state:\n"
    "    (state / 'key').write_text('secret')\n"
    "    print(state, flush=True)\n"
    "    input()\n"
)
_WAIT = 'i=0; while [ -e "$0" ] && [ $i -lt 100 ]; do sleep 0.02; i=$((i+1)); done; [ ! -e "$0" ]'


def test_it_is_gone_after_the_block_and_private_within() -> None:
    with temporary_state() as state:
        assert state.stat().st_mode & 0o077 == 0
    assert not state.exists()


def test_what_is_kept_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_state() as state:
        (state / "key").write_text("secret")
        kept = keep(state)
    assert (kept / "key").read_text() == "secret"


@pytest.mark.slow
def test_a_killed_process_leaves_no_key_behind() -> None:
    with running([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE) as holder:
        state = Path(line_of(holder).strip())
        assert (state / "key").exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait(WITHIN_S)
        # The janitor holds the pipe's other end: it is done when the directory's inode is gone.
        gone = subprocess.run(
            ["/bin/sh", "-c", _WAIT, str(state)],
            check=False, timeout=WITHIN_S,
        )  # fmt: skip
        assert gone.returncode == 0
