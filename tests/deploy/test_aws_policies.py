"""Every call that a part makes is allowed by its policy, and nothing is that no part does.

Stories make each part call an emulated account for all that it is for; the calls are written down
and held against the template's statements, action by action, resource by resource.
"""

from __future__ import annotations

import asyncio
import gzip
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from city_platform.aws.bootstrap import DRIVES_MAX, answer_event, drive
from city_platform.aws.commands import conclude, get_command, post_command
from city_platform.aws.envelopes import envelope
from city_platform.aws.installation import Environment
from city_platform.aws.presence import follow_presence
from city_platform.aws.transform import transform_records
from city_platform.control.requests import builtin_names
from city_platform.stores.aws.copied_telemetry import CopiedTelemetryStore
from city_platform.stores.aws.object_store import S3ObjectStore
from city_platform.stores.aws.opening import open_objects, open_telemetry_table, open_things
from city_platform.stores.certificate_register import CertificateQuery
from city_platform.stores.object_store import NewObject
from city_platform.stores.telemetry_records import UnstampedPack
from city_platform.stores.telemetry_store import SqliteTelemetryStore
from contracts.data_interface import Completes, Outcome
from contracts.policy import Policy
from tests.city_platform.aws.test_entry_points import (
    DOCUMENT,
    FOREVER,
    READ,
    Watched,
    request,
    told,
)
from tests.city_platform.aws.test_presence import born, connected
from tests.city_platform.bootstrap.test_decision import event
from tests.city_platform.ingestion.packs import NOW_S, alarm, alarm_topic, state, state_topic
from tests.city_platform.stores.aws.emulators import (
    Call,
    RecordedAws,
    account,
    installation,
)
from tests.city_platform.stores.conftest import moto
from tests.city_platform.stores.test_telemetry_store_contract import alarm as alarm_record
from tests.city_platform.stores.test_telemetry_store_contract import batch, reading
from tests.city_platform.stores.test_thing_registry_contract import certificate, thing
from tests.deploy.aws_needs import needs
from tests.deploy.aws_template import Names, Need, allowing, allows, read_resources, resolved

__all__ = ["moto"]
pytestmark = [pytest.mark.moto, pytest.mark.slow]

ACCOUNT = "123456789012"
# moto makes a thing that is there anew, where AWS refuses and wants UpdateThing: MiniStack does
# too, and test_ministack.py has the call.
NOT_ON_MOTO = frozenset({"iot:UpdateThing"})
Story = Callable[[RecordedAws, Path], Awaitable[None]]


async def provisioning(aws: RecordedAws, folder: Path) -> None:
    """Imports, renewed policies, queries, revocation and removal."""
    objects, things = await open_objects(aws), await open_things(aws)
    aws.recorded.clear()
    await objects.put([NewObject("credentials/a.json", b"{}", owner_only=True)])
    await objects.put([NewObject("withheld/a.json", b"{}", owner_only=True)])
    await objects.present(["credentials/a.json", "credentials/none.json"])
    await objects.get_many(["credentials/a.json", "withheld/none.json"])
    for number, group in enumerate(("g1", "g1", "g2")):
        policy = Policy(publish=(f"devices/a/{number}",))
        made = thing("a", number=number + 1, groups=(group,))
        await things.put([msgspec.structs.replace(made, policy=policy, serial=f"S{number}")])
    await things.get(["a"])
    await things.members("g2")
    await things.groups()
    await things.names("", 10)
    await things.policy("device:a")
    register = things.register
    for query in (
        CertificateQuery(thing="a"),
        CertificateQuery(state="active"),
        CertificateQuery(),
    ):
        await register.certificates(query)
    await register.certificate(certificate("a", 1).sha256)
    await register.note_superseded([certificate("a", 1).sha256], 1)
    await register.tell([certificate("a", 3).sha256], "revoked", 1, "key_compromise")
    await register.blocked(["a"])
    await register.add_rotations(["a"])
    await register.rotations(10)
    await register.end_rotations(["a"])
    await register.begin_removal("a", "anna")
    await register.end_removal_step("a", 1)
    await register.removals()
    await register.end_removal("a")
    await objects.delete("credentials/a.json")
    await objects.delete("withheld/a.json")


async def bootstrap(aws: RecordedAws, folder: Path) -> None:
    """The component reads credentials."""
    objects = await open_objects(aws)
    aws.recorded.clear()
    await objects.get_many(["credentials/a.json", "credentials/none.json"])


async def make_archive_stream(aws: RecordedAws) -> None:
    """The stream that the template names."""
    await aws.call(
        "firehose",
        "create_delivery_stream",
        DeliveryStreamName=f"{aws.config.name}-archive",
        ExtendedS3DestinationConfiguration={
            "RoleARN": f"arn:aws:iam::{ACCOUNT}:role/stream",
            "BucketARN": f"arn:aws:s3:::{aws.config.bucket}",
        },
    )


async def ingestion(aws: RecordedAws, folder: Path) -> None:
    """A batch of everything, questions, and the archive either way."""
    own = SqliteTelemetryStore(folder / "telemetry.sqlite", now_ns=lambda: 1, window_us=1)
    store = CopiedTelemetryStore(own, await open_telemetry_table(aws), 1)
    archive = await open_objects(aws)
    straight = S3ObjectStore(aws)
    if aws.config.create_missing:
        await make_archive_stream(aws)
    aws.recorded.clear()
    for value in (1.0, 2.0):
        unstamped = [UnstampedPack(b"digest", 5, [reading(5, path="/3/0/9")])]
        given = batch(await store.position(), [reading(1, value)], unstamped=unstamped)
        await store.commit(given._replace(alarms=[alarm_record(1)]))
    await store.readings("lamp-1", None, 0, FOREVER, 10)
    await store.alarms("lamp-1", 10)
    for objects in (archive, straight):
        await objects.put([NewObject("archive/2026/1.jsonl.gz", gzip.compress(b"{}\n"))])
    store.close()


async def _city(aws: RecordedAws) -> Watched:
    """An installation with a device and a bridge."""
    objects, things = await open_objects(aws), await open_things(aws)
    await open_telemetry_table(aws)
    await things.put([thing("lamp-1", groups=("harbour",))])
    pem = b64encode(certificate("svc:bridge:north").der).decode()
    bridge = f"-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n".encode()
    await objects.put(
        [
            NewObject("credentials/lamp-1.json", DOCUMENT),
            NewObject("pki/svc_bridge_north.pem", bridge),
        ]
    )
    aws.recorded.clear()
    return Watched(Environment(stores=aws.config), aws)


async def bootstrap_function(aws: RecordedAws, folder: Path) -> None:
    """A registration, and its confirmation."""
    city = await _city(aws)
    await answer_event(told(event()), city)
    completed = Completes("credentials", "v1")
    confirmed = event(kind="bootstrap", registration=None, completed=completed)
    await answer_event(told(confirmed), city)


async def drive_function(aws: RecordedAws, folder: Path) -> None:
    """Credentials go out again until they are given up."""
    city = await _city(aws)
    await answer_event(told(event()), city)
    aws.recorded.clear()
    for _ in range(DRIVES_MAX + 1):
        await drive(city)


async def commands_function(aws: RecordedAws, folder: Path) -> None:
    """Commands with a known holder and without, and a question for one."""
    city = await _city(aws)
    names = builtin_names()
    taken = await post_command(request(READ), city, names)
    before = list(aws.recorded)
    await answer_event(told(event()), city)
    aws.recorded[:] = before
    await post_command(request(READ), city, names)
    command_id = msgspec.json.decode(taken["body"])["id"]
    await get_command({**request(""), "pathParameters": {"id": command_id}}, city)


async def results_function(aws: RecordedAws, folder: Path) -> None:
    """An outcome."""
    city = await _city(aws)
    taken = await post_command(request(READ), city, builtin_names())
    aws.recorded.clear()
    outcome = Outcome(id=msgspec.json.decode(taken["body"])["id"], operation="read", code="2.05")
    await conclude(told(event(kind="result", registration=None, result=outcome)), city)


async def presence_function(aws: RecordedAws, folder: Path) -> None:
    """A connection, in the broker's words and in the device's own."""
    city = await _city(aws)
    for published in (connected(1), born(1), connected(2)):
        await follow_presence(published, city)


async def transform_function(aws: RecordedAws, folder: Path) -> None:
    """Records of all kinds."""
    city = await _city(aws)
    sent = [(state_topic(), state()), (alarm_topic(), alarm()), (state_topic("no"), state("no"))]
    received_ms = int(NOW_S * 1000)
    given: dict[str, Any] = {
        "records": [
            {
                "recordId": str(number),
                "data": b64encode(envelope(topic, one, received_ms)).decode(),
            }
            for number, (topic, one) in enumerate(sent)
        ]
    }
    await transform_records(given, city)


STORIES: dict[str, Story] = {
    "ProvisioningPolicy": provisioning,
    "BootstrapPolicy": bootstrap,
    "IngestionPolicy": ingestion,
    "Bootstrap": bootstrap_function,
    "BootstrapDrive": drive_function,
    "Commands": commands_function,
    "Results": results_function,
    "Presence": presence_function,
    "Transform": transform_function,
}


def statements_of(owner: str, names: Names) -> list[dict[str, Any]]:
    return [resolved(one, names) for one in allowing(read_resources()[owner])]


def recorded(url: str, story: Story, folder: Path) -> tuple[list[Call], Names]:
    """The calls of a story, and what its installation is called."""
    config = installation(url)
    config = msgspec.structs.replace(config, archive_stream=f"{config.name}-archive")

    async def run() -> list[Call]:
        async with account(config) as aws:
            await story(aws, folder)
            return list(aws.recorded)

    return asyncio.run(run()), Names(config.bucket, config.name, ACCOUNT)


def test_every_policy_of_the_template_has_a_story() -> None:
    owners = {
        name
        for name, one in read_resources().items()
        if one["Type"] in ("AWS::Serverless::Function", "AWS::IAM::ManagedPolicy")
    }
    assert owners == set(STORIES)


@pytest.mark.parametrize("owner", list(STORIES))
def test_what_a_part_calls_is_allowed_and_no_more_than_that(
    moto: str, owner: str, tmp_path: Path
) -> None:
    calls, names = recorded(moto, STORIES[owner], tmp_path)
    asked = [need for call in calls for need in needs(call, names)]
    statements = statements_of(owner, names)
    refused = [need for need in asked if not any(allows(one, need) for one in statements)]
    assert refused == []
    unused = [
        (action, resource)
        for one in statements
        for action in set(_texts(one["Action"])) - NOT_ON_MOTO
        for resource in _texts(one["Resource"])
        if not _is_used(one, action, resource, asked)
    ]
    assert unused == []


def _is_used(statement: dict[str, Any], action: str, resource: str, asked: list[Need]) -> bool:
    alone = {**statement, "Resource": resource}
    return any(need.action == action and allows(alone, need) for need in asked)


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_a_call_of_another_parts_is_refused() -> None:
    names = Names("city", "city", ACCOUNT)
    reads = Need("s3:GetObject", "arn:aws:s3:::city/credentials/a.json")
    assert any(allows(one, reads) for one in statements_of("BootstrapPolicy", names))
    assert not any(allows(one, reads) for one in statements_of("IngestionPolicy", names))
    writes = Need(
        "dynamodb:BatchWriteItem",
        names.arns["Things.Arn"],
        {"dynamodb:LeadingKeys": ("command", "thing")},
    )
    assert not any(allows(one, writes) for one in statements_of("Results", names))
