"""A process's log: lines for people or JSON, as `LAMPLIGHTER_LOG` says."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from runtime.correlation import _current
from runtime.logs import JsonFormatter, LogChoice, LogChoiceError, read_choice


def written(message: str, *arguments: object, **more: Any) -> dict[str, str]:
    """One record through the formatter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("control"))
    log = logging.Logger("city_platform.control")
    log.addHandler(handler)
    log.error(message, *arguments, **more)
    (line,) = stream.getvalue().splitlines()
    found: dict[str, str] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LogChoice("INFO", False)),
        ("debug", LogChoice("DEBUG", False)),
        ("json", LogChoice("INFO", True)),
        ("json,WARNING", LogChoice("WARNING", True)),
        ("ERROR, JSON", LogChoice("ERROR", True)),
    ],
)
def test_the_variable_says_how_much_and_in_which_form(text: str, expected: LogChoice) -> None:
    assert read_choice(text) == expected


def test_another_word_is_refused_with_what_there_is() -> None:
    with pytest.raises(LogChoiceError, match="neither json nor one of DEBUG, INFO"):
        read_choice("xml")


def test_a_line_has_component_level_logger_and_message() -> None:
    found = written("%d of %s", 3, "lamps")
    assert found.pop("at").endswith("Z")
    assert found == {
        "component": "control",
        "level": "ERROR",
        "logger": "city_platform.control",
        "message": "3 of lamps",
    }


def test_a_line_within_a_request_has_its_id() -> None:
    token = _current.set("req-1")
    try:
        assert written("x")["correlation_id"] == "req-1"
    finally:
        _current.reset(token)
    assert "correlation_id" not in written("x")


def test_a_message_of_several_lines_stays_one_line_and_odd_text_is_written() -> None:
    assert written("a\nb \udc80 \x1b[31m")["message"] == "a\nb ? \x1b[31m"


def test_a_traceback_is_a_field() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        assert "ValueError: why" in written("it failed", exc_info=True)["error"]


def test_what_is_attached_to_a_record_is_not_written() -> None:
    assert "hunter2" not in json.dumps(written("x", extra={"password": "hunter2"}))


_PROGRAM = """
import logging
import msgspec
from runtime.component import run_process

class Config(msgspec.Struct):
    pass

async def run(config, clock, ready):
    logging.getLogger("of.the.component").warning("the broker is away")

raise SystemExit(run_process(run, Config(), name="bridge"))
"""


def _process(choice: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=os.environ | {"LAMPLIGHTER_LOG": choice},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_a_process_logs_as_it_is_told() -> None:
    (line,) = _process("json").stderr.splitlines()
    found = json.loads(line)
    assert (found["component"], found["message"]) == ("bridge", "the broker is away")
    assert " bridge WARNING of.the.component: the broker is away" in _process("INFO").stderr
    assert _process("json,ERROR").stderr == ""
    refused = _process("loud")
    assert refused.returncode == 3
    assert refused.stderr.count("\n") == 1
