"""`lamplighter command`: what it says and how it exits."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from city_platform.control.command import app, exit_code_of, record_text, value_of
from contracts.api import CommandRecord
from contracts.data_interface import Outcome, ResultError, Value


@pytest.mark.parametrize(
    ("text", "value"), [("40", 40), ("true", True), ('"40"', "40"), ("dim", "dim"), ("[1]", "[1]")]
)
def test_a_value_is_json_or_a_text(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("succeeded", 0),
        ("refused", 1),
        ("failed", 1),
        ("cancelled", 1),
        ("unknown", 2),
        ("sent", 2),
    ],
)
def test_the_exit_code_says_how_it_ended(state: str, code: int) -> None:
    assert exit_code_of(state) == code


def test_a_record_is_told_for_people() -> None:
    record = CommandRecord(
        id="cmd-1", endpoint="lamp-1", operation="read", path="/3/0/9", state="succeeded",
        issued_at_us=1, expires_at_us=2,
        outcome=Outcome(
            id="cmd-1", operation="read", code="2.05", values=[Value("/3/0/9", "integer", 80)],
            error=ResultError("coap", "odd"),
        ),
    )  # fmt: skip
    told = record_text(record)
    for part in ("cmd-1: succeeded", "read /3/0/9 of lamp-1", "2.05", "/3/0/9 = 80", "coap: odd"):
        assert part in told


def test_what_is_missing_is_said_without_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-token\n")
    runner = CliRunner()
    for arguments, says in (
        (["watch", "cmd-1", "--control", "here", "--token-file", str(file)], "host:port"),
        (["watch", "../x", "--control", "127.0.0.1:1", "--token-file", str(file)], "no id"),
        (["watch", "cmd-1", "--control", "127.0.0.1:1"], "$LAMPLIGHTER_TOKEN"),
        (
            ["send", "a.b", "read", "/3", "--control", "127.0.0.1:1", "--token-file", str(file)],
            "a.b",
        ),
        (
            ["send", "lamp-1", "fly", "/3", "--control", "127.0.0.1:1", "--token-file", str(file)],
            "fly",
        ),
    ):
        found = runner.invoke(app, arguments, env={"LAMPLIGHTER_TOKEN": ""})
        assert found.exit_code == 3
        assert says in found.output
        assert "secret-token" not in found.output
