"""`lamplighter command`: what it says and how it exits."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from city_platform.control.asking import (
    CannotAsk,
    exit_code_of,
    group_exit_code_of,
    group_text,
    record_text,
    search_of,
    value_of,
)
from city_platform.control.command import app
from contracts.api import CommandRecord, CommandTarget, GroupCommandRecord
from contracts.commands import FINAL_COMMAND_STATES, CommandState
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


def group(states: dict[CommandState, int], waiting: int = 0) -> GroupCommandRecord:
    is_ended = not waiting and FINAL_COMMAND_STATES.issuperset(states)
    return GroupCommandRecord(
        id="grp-1", state="ended" if is_ended else "running", operation="write", path="/3311/0/1",
        devices=sum(states.values()) + waiting, waiting=waiting, states=states, rate_per_s=200.0,
        issued_at_us=1, ends_at_us=2, target=CommandTarget(tenant="harbour"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (group({"succeeded": 5}), 0),
        (group({"succeeded": 4, "refused": 1}), 1),
        (group({"succeeded": 4, "refused": 1, "unknown": 1}), 2),
        (group({"succeeded": 4, "sent": 1}), 2),
        (group({"succeeded": 4}, waiting=1), 2),
    ],
)
def test_the_exit_code_of_a_group_is_that_of_its_worst(
    record: GroupCommandRecord, code: int
) -> None:
    assert group_exit_code_of(record) == code


def test_a_group_is_told_in_numbers_and_by_some_that_did_not_succeed() -> None:
    other = CommandRecord(
        id="cmd-1", endpoint="lamp-7", operation="write", path="/3311/0/5851", state="refused",
        issued_at_us=1, expires_at_us=2,
        outcome=Outcome(id="cmd-1", operation="write", code="4.05"),
    )  # fmt: skip
    told = group_text(group({"succeeded": 4999, "refused": 1}), [other])
    for part in (
        "grp-1: ended",
        "5,000 devices",
        "1 refused, 4,999 succeeded",
        "lamp-7: refused 4.05",
    ):
        assert part in told
    assert "3 waiting for their turn" in group_text(group({"sent": 1}, waiting=3))


def test_a_search_is_names_and_values() -> None:
    assert search_of(["model=street_lamp", "attribute=pole=7", "attribute=side=left"]) == {
        "model": "street_lamp",
        "attribute": ["pole=7", "side=left"],
    }
    with pytest.raises(CannotAsk, match="NAME=VALUE"):
        search_of(["street_lamp"])


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
            "there is no operation 'fly': read, discover",
        ),
        (
            ["watch", "cmd-1", "--control", "http://127.0.0.1:1/", "--token-file", str(file)],
            "control does not answer at 127.0.0.1:1",
        ),
        (
            ["watch", "cmd-1", "--control", "127.0.0.1:1", "--token-file", str(tmp_path / "none")],
            "none: No such file or directory",
        ),
        (
            [
                "send-group",
                "read",
                "/3",
                "--control",
                "127.0.0.1:1",
                "--token-file",
                str(file),
                "--search",
                "lamps",
            ],
            "NAME=VALUE",
        ),
    ):
        found = runner.invoke(app, arguments, env={"LAMPLIGHTER_TOKEN": ""})
        assert found.exit_code == 3
        assert says in found.output
        assert "secret-token" not in found.output
