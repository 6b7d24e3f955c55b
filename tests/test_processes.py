"""Processes of tests are told apart by what they say, and end with the test."""

from __future__ import annotations

import sys

import pytest

from tests.processes import line_of, running


def test_lines_come_one_by_one_and_silence_is_an_error() -> None:
    program = "import sys, time; print('one\\ntwo', flush=True); sys.stdin.read()"
    with running([sys.executable, "-c", program], stdin=-1) as process:
        assert line_of(process) == "one"
        assert line_of(process) == "two"
        with pytest.raises(AssertionError, match="no line within"):
            line_of(process, within_s=0.01)
    assert process.returncode is not None


def test_one_that_ends_without_a_line_is_an_error() -> None:
    with (
        running([sys.executable, "-c", "print('half', end='')"]) as process,
        pytest.raises(AssertionError, match="it ended in the line 'half'"),
    ):
        line_of(process)
