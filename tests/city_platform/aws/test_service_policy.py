"""A component's policy on AWS IoT says what the table of every broker says."""

from __future__ import annotations

import json

import pytest

from city_platform.aws.service_policy import SERVICES, WrongPrincipal, main, service_policy
from city_platform.stores.aws.policies import DOCUMENT_BYTES_MAX
from contracts.topics import Topics

ACCOUNT = "arn:aws:iot:eu-central-1:123456789012"


def test_a_bridges_policy_is_its_servers_alone() -> None:
    document = json.loads(service_policy("bridge", "north", ACCOUNT, Topics()))
    by_action = {one["Action"][0]: one["Resource"] for one in document["Statement"]}
    assert by_action["iot:Connect"] == [f"{ACCOUNT}:client/svc:bridge:north"]
    assert f"{ACCOUNT}:topic/lwm2m/north/*/event/*" in by_action["iot:Publish"]
    assert f"{ACCOUNT}:topicfilter/lwm2m/north/+/credentials" in by_action["iot:Subscribe"]
    assert not any("south" in one for found in by_action.values() for one in found)


def test_each_connection_of_a_bridge_has_a_client_id_of_its_own() -> None:
    second = service_policy("bridge", "north", ACCOUNT, Topics(), connection=2)
    assert f'"{ACCOUNT}:client/svc:bridge-2:north"' in second


@pytest.mark.parametrize("service", SERVICES)
def test_every_policy_fits_into_what_aws_takes(service: str) -> None:
    server = "north" if service == "bridge" else ""
    assert len(service_policy(service, server, ACCOUNT, Topics())) <= DOCUMENT_BYTES_MAX


@pytest.mark.parametrize(
    ("service", "server", "account", "told"),
    [
        ("device", "", ACCOUNT, "connects to no broker"),
        ("bridge", "", ACCOUNT, "has a --server"),
        ("control", "north", ACCOUNT, "has a --server"),
        ("bridge", "no/rth", ACCOUNT, "no server's name"),
        ("control", "", "123456789012", "account of 12 digits"),
    ],
)
def test_who_is_nobody_is_told_so(service: str, server: str, account: str, told: str) -> None:
    with pytest.raises(WrongPrincipal, match=told):
        service_policy(service, server, account, Topics())


def test_the_command_prints_a_document_or_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bridge", "--server", "north", "--account", ACCOUNT]) == 0
    assert json.loads(capsys.readouterr().out)["Version"] == "2012-10-17"
    assert main(["bridge", "--account", ACCOUNT]) == 2
    assert "--server" in capsys.readouterr().err
