"""`.ci/run` with programs in place of the real ones: what it does at once, and what ends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[2]
# What the script itself is made of.
REAL = ("bash", "dirname", "id", "env")
# Writes down how it was called, and ends as the file named after that call says.
STUB = """#!/bin/bash
called="$(basename "$0") $*"
echo "$called" >> "{log}"
case "$called" in {failing}) exit 1;; esac
"""


class Checkout:
    """A folder with the script, and stubs that write down their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = folder / "bin"
        self._log = folder / "calls"
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
        self._bin.mkdir()
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name in (*REAL, "basename"):
            found = shutil.which(name)
            assert found is not None, name
            (self._bin / name).symlink_to(found)

    def run(self, *failing: str, there: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run it where those programs are there, and where calls with these patterns fail."""
        patterns = " | ".join(each.replace(" ", "\\ ") for each in failing) or "''"
        text = STUB.format(log=self._log, failing=patterns)
        for name in ("make", "apt-get", *there):
            self._stub(self._bin / name, text)
        for name in ("pip", "python"):
            self._stub(self.folder / ".venv" / "bin" / name, text)
        return subprocess.run(
            [str(self._bin / "bash"), ".ci/run"], cwd=self.folder, check=False, text=True,
            capture_output=True, timeout=WITHIN_S, env=os.environ | {"PATH": str(self._bin)},
        )  # fmt: skip

    def _stub(self, file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines()


ALL = ("mosquitto", "coap-client-openssl", "autoconf", "chromium", "npm")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_everything_is_prepared_before_the_tests_and_nothing_is_installed_twice(
    checkout: Checkout,
) -> None:
    ended = checkout.run(there=ALL)
    assert (ended.returncode, ended.stdout) == (0, "")
    calls = checkout.calls
    assert calls[0] == "make setup-test"
    assert calls[-1] == "make test"
    # Lint goes on beside the others.
    *made, peers, unicode = sorted(calls[1:-1])
    assert made == ["make dashboard", "make lint"]
    assert peers.startswith("pip install")
    assert peers.endswith(".[peers]")
    assert unicode.startswith("python -c from hypothesis")


def test_a_fault_that_lint_finds_ends_it_without_the_tests(checkout: Checkout) -> None:
    ended = checkout.run("make lint", there=ALL)
    assert ended.returncode != 0
    assert "make test" not in checkout.calls


@pytest.mark.parametrize("step", ["make setup-test", "make test"])
def test_a_step_that_fails_fails_it(checkout: Checkout, step: str) -> None:
    assert checkout.run(step, there=ALL).returncode != 0


def test_what_cannot_be_had_is_said_and_costs_only_its_own_tests(checkout: Checkout) -> None:
    ended = checkout.run("apt-get*", "pip*", "make dashboard")
    assert ended.returncode == 0
    assert checkout.calls[-1] == "make test"
    for what in ("libcoap", "chromium", "dashboard's pages", "DTLSSocket"):
        assert any(what in line and "skipped" in line for line in ended.stdout.splitlines()), what


def test_one_program_that_cannot_be_had_does_not_keep_the_others_away(checkout: Checkout) -> None:
    if os.getuid() != 0:
        pytest.skip("`.ci/run` installs programs as root only: nobody else may use apt-get")
    # The script looks for Mosquitto where Debian puts it as well: it may be there.
    checkout.run("apt-get install * libcoap3-bin *", there=("mosquitto",))
    asked = [each for each in checkout.calls if each.startswith("apt-get")]
    assert asked == [
        "apt-get update -qq",
        "apt-get install -y -qq libcoap3-bin autoconf chromium",
        *(f"apt-get install -y -qq {name}" for name in ("libcoap3-bin", "autoconf", "chromium")),
    ]
