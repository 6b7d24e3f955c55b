"""The template of deploy/aws: well formed, and no policy gives more than its part needs."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from city_platform.stores.aws.tables import definition
from city_platform.stores.aws.thing_registry import BY_STATE, BY_THING
from contracts.topics import Topics, fill

TEMPLATE = Path(__file__).parents[2] / "deploy/aws/template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as what they are called with."""


def _short(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"{suffix} {loader.construct_scalar(node)}"
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _short)  # type: ignore[no-untyped-call]  # PyYAML has no types


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
    return cast(dict[str, Any], found["Resources"])


def _statements(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("Effect") == "Allow":
            yield node
        for inner in node.values():
            yield from _statements(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _statements(inner)


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


@pytest.mark.slow
def test_cfn_lint_finds_nothing() -> None:
    if importlib.util.find_spec("cfnlint") is None:
        pytest.skip("needs cfn-lint: pip install 'lamplighter[test]'")
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_no_policy_allows_every_action(resources: dict[str, Any]) -> None:
    actions = [one for found in _statements(resources) for one in _list(found["Action"])]
    assert len(actions) > 40
    assert [one for one in actions if "*" in one] == []


def test_everything_is_named_but_what_has_no_name_before_it_exists(
    resources: dict[str, Any],
) -> None:
    everywhere = [
        sorted(_list(found["Action"]))
        for found in _statements(resources)
        if "*" in _list(found.get("Resource", ""))
    ]
    assert everywhere == [
        ["iot:AttachPolicy", "iot:CreatePolicy", "iot:RegisterCertificateWithoutCA"]
    ]


def test_every_entry_point_exists(resources: dict[str, Any]) -> None:
    functions = [
        one["Properties"]["Handler"]
        for one in resources.values()
        if one["Type"] == "AWS::Serverless::Function"
    ]
    assert len(functions) == 5
    for handler in functions:
        module, _, name = handler.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_rules_hear_the_topics_of_the_contract(resources: dict[str, Any]) -> None:
    topics = Topics()
    selected = {
        one["Properties"]["TopicRulePayload"]["Sql"].rpartition("FROM ")[2].strip("'")
        for one in resources.values()
        if one["Type"] == "AWS::IoT::TopicRule"
    }
    events = {fill(topics.event, kind=kind) for kind in ("registered", "bootstrap", "result")}
    others = {fill(one) for one in (topics.state, topics.alarm)}
    commands = {fill(one) for one in (topics.command, topics.held_command)}
    assert selected == events | others | commands


def test_every_rule_hands_the_payload_on_as_base64_and_keeps_what_fails(
    resources: dict[str, Any],
) -> None:
    for one in resources.values():
        if one["Type"] == "AWS::IoT::TopicRule":
            payload = one["Properties"]["TopicRulePayload"]
            assert "encode(*, 'base64') AS payload" in payload["Sql"]
            assert "topic() AS topic" in payload["Sql"]
            assert "timestamp() AS received_ms" in payload["Sql"]
            assert "ErrorAction" in payload


@pytest.mark.parametrize(("name", "indexes"), [("Telemetry", ()), ("Things", (BY_THING, BY_STATE))])
def test_tables_have_the_keys_that_the_stores_use(
    resources: dict[str, Any], name: str, indexes: tuple[Any, ...]
) -> None:
    made, wanted = resources[name]["Properties"], definition("any", indexes)
    for field in ("KeySchema", "BillingMode"):
        assert made[field] == wanted[field]
    assert made.get("GlobalSecondaryIndexes", []) == wanted.get("GlobalSecondaryIndexes", [])
    attributes = sorted(made["AttributeDefinitions"], key=lambda one: str(one["AttributeName"]))
    assert attributes == wanted["AttributeDefinitions"]


def test_the_transform_is_asked_for_no_more_than_it_can_answer(resources: dict[str, Any]) -> None:
    text = yaml.load(TEMPLATE.read_text(), _Loader)
    # Archive lines are some four times as large as the packs they come from; base64 adds a third.
    assert text["Parameters"]["BufferMegabytes"]["Default"] <= 1
    assert text["Parameters"]["BufferSeconds"]["MinValue"] == 60
