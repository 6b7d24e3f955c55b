"""Command lines that are printed can be copied, whether `lamplighter` is on the PATH or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.called import called


def test_it_is_called_by_its_name_where_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "lamplighter"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert called() == "lamplighter"


def test_it_is_called_by_its_path_in_an_environment_that_is_not_activated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my city" / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "lamplighter").touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(folder / "python3"))
    monkeypatch.chdir(tmp_path / "my city")
    assert called() == ".venv/bin/lamplighter"
    monkeypatch.chdir(tmp_path / "my city" / ".venv")
    assert called() == "bin/lamplighter"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert called() == f"'{folder}/lamplighter'"


def test_without_a_program_its_name_is_all_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    assert called() == "lamplighter"
