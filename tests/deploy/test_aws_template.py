"""The template of deploy/aws: well formed, and no policy gives more than its part needs."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from city_platform.stores.aws.tables import definition
from city_platform.stores.aws.thing_registry import BY_STATE, BY_THING
from contracts.topics import Topics, fill
from tests.deploy.aws_template import TEMPLATE, allowing, as_list, read_resources, read_template


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return read_resources()


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
    actions = [one for found in allowing(resources) for one in as_list(found["Action"])]
    assert len(actions) > 40
    assert [one for one in actions if "*" in one] == []


def test_everything_is_named_but_what_aws_checks_no_name_of(
    resources: dict[str, Any],
) -> None:
    everywhere = [
        sorted(as_list(found["Action"]))
        for found in allowing(resources)
        if "*" in as_list(found.get("Resource", ""))
    ]
    assert everywhere == [
        [
            "iot:AttachThingPrincipal",
            "iot:DetachThingPrincipal",
            "iot:RegisterCertificateWithoutCA",
        ]
    ]


def test_every_entry_point_exists(resources: dict[str, Any]) -> None:
    functions = [
        one["Properties"]["Handler"]
        for one in resources.values()
        if one["Type"] == "AWS::Serverless::Function"
    ]
    assert len(functions) == 6
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
    connections = {fill(one) for one in (topics.presence, topics.lifecycle)}
    assert selected == events | others | commands | connections


def test_every_rule_that_calls_a_function_may(resources: dict[str, Any]) -> None:
    called = {
        (name, action["Lambda"]["FunctionArn"].removesuffix(".Arn").removeprefix("GetAtt "))
        for name, one in resources.items()
        if one["Type"] == "AWS::IoT::TopicRule"
        for action in one["Properties"]["TopicRulePayload"]["Actions"]
        if "Lambda" in action
    }
    allowed = {
        (
            one["Properties"]["SourceArn"].removesuffix(".Arn").removeprefix("GetAtt "),
            one["Properties"]["FunctionName"].removeprefix("Ref "),
        )
        for one in resources.values()
        if one["Type"] == "AWS::Lambda::Permission"
        and one["Properties"]["Principal"] == "iot.amazonaws.com"
    }
    assert called == allowed
    assert {("PresenceRule", "Presence"), ("LifecycleRule", "Presence")} <= called


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
    text = read_template()
    # Archive lines are some four times as large as the packs they come from; base64 adds a third.
    assert text["Parameters"]["BufferMegabytes"]["Default"] <= 1
    assert text["Parameters"]["BufferSeconds"]["MinValue"] == 60
