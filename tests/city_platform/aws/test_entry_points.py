"""The handlers on Lambda do what the components do, against an emulated account."""

from __future__ import annotations

import asyncio
import random
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from city_platform.aws.bootstrap import DRIVES_MAX, answer_event, drive
from city_platform.aws.commands import conclude, get_command, post_command
from city_platform.aws.envelopes import Published, envelope
from city_platform.aws.installation import (
    Environment,
    Installation,
    WrongEnvironment,
    read_environment,
)
from city_platform.aws.transform import transform_records
from city_platform.control.requests import builtin_names
from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.opening import open_objects, open_telemetry_table, open_things
from city_platform.stores.aws.telemetry_finds import find_alarms, find_readings
from city_platform.stores.object_store import NewObject
from contracts.credentials import decode_sealed
from contracts.data_interface import Completes, Event, Outcome, decode_command, encode
from contracts.topics import Topics
from harness.testing.clock import HandMovedClock
from tests.city_platform.bootstrap.test_decision import event
from tests.city_platform.ingestion.packs import NOW_S, alarm, alarm_topic, state, state_topic
from tests.city_platform.stores.aws.emulators import account, installation
from tests.city_platform.stores.test_thing_registry_contract import certificate, thing

pytestmark = [pytest.mark.moto, pytest.mark.slow]

DOCUMENT = (
    b'{"endpoint":"lamp-1","version":"v1","broker":{"uri":"mqtts://b","client_id":"lamp-1",'
    b'"certificate":"","ca_certificate":"","secret_key":"c2VjcmV0"},"publications":[]}'
)
FOREVER = 2**62


class Watched(Installation):
    """An installation whose publications are seen as they leave for AWS IoT."""

    def __init__(self, environment: Environment, aws: Aws) -> None:
        super().__init__(environment, aws, HandMovedClock(), random.Random(1).randbytes)
        self.published: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, payload: bytes) -> None:
        await super().publish(topic, payload)
        self.published.append((topic, payload))


Tell = Callable[[Callable[[Watched], Awaitable[None]]], None]


@pytest.fixture
def tell(moto: str) -> Tell:
    """Runs a story with an installation in which `lamp-1` is provisioned."""

    async def with_installation(story: Callable[[Watched], Awaitable[None]]) -> None:
        config = installation(moto)
        async with account(config) as aws:
            objects, things = await open_objects(aws), await open_things(aws)
            await open_telemetry_table(aws)
            await things.put([thing("lamp-1", groups=("harbour", "harbour/quay"))])
            pem = b64encode(certificate("svc:bridge:north").der).decode()
            bridge = f"-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n".encode()
            await objects.put(
                [
                    NewObject("credentials/lamp-1.json", DOCUMENT),
                    NewObject("pki/svc_bridge_north.pem", bridge),
                ]
            )
            await story(Watched(Environment(stores=config), aws))

    return lambda story: asyncio.run(with_installation(story))


def told(made: Event) -> Published:
    return Published(f"lwm2m/{made.server}/{made.endpoint}/event/{made.kind}", encode(made), 1)


def test_a_registration_is_answered_with_sealed_credentials_until_it_is_confirmed(
    tell: Tell,
) -> None:
    async def story(city: Watched) -> None:
        assert await answer_event(told(event()), city) == {"sent": "lamp-1"}
        topic, payload = city.published[0]
        assert topic == "lwm2m/north/lamp-1/credentials"
        assert decode_sealed(payload).version == "v1"
        assert b"c2VjcmV0" not in payload
        assert await drive(city) == {"driven": 1, "pending": 1}
        confirmed = event(
            kind="bootstrap", registration=None, completed=Completes("credentials", "v1")
        )
        for _ in range(2):
            assert await answer_event(told(confirmed), city) == {"confirmed": "lamp-1"}
        assert await drive(city) == {"driven": 0, "pending": 0}
        known = await answer_event(told(event("/18830/0")), city)
        assert known == {"ignored": "confirmed"}
        assert len(city.published) == 2

    tell(story)


def test_driving_ends_after_some_tries(tell: Tell) -> None:
    async def story(city: Watched) -> None:
        await answer_event(told(event()), city)
        for _ in range(DRIVES_MAX + 1):
            await drive(city)
        assert len(city.published) == DRIVES_MAX

    tell(story)


def test_nothing_is_published_for_whom_it_is_not_meant(tell: Tell) -> None:
    cases = {
        "unknown_endpoint": told(event(endpoint="nobody")),
        "nosec": told(event(mode="nosec")),
        "no_bridge_certificate": told(event(server="south")),
        "claims_another_device": Published(
            "lwm2m/north/lamp-2/event/registered", encode(event()), 1
        ),
        "malformed": Published("lwm2m/north/lamp-1/event/registered", b"\xff", 1),
    }

    async def story(city: Watched) -> None:
        for reason, published in cases.items():
            assert await answer_event(published, city) == {"ignored": reason}
        assert city.published == []

    tell(story)


RECEIVED_MS = int(NOW_S * 1000)


def records(*payloads: tuple[str, bytes]) -> dict[str, Any]:
    return {
        "records": [
            {
                "recordId": f"r{number}",
                "data": b64encode(envelope(topic, one, RECEIVED_MS)).decode(),
            }
            for number, (topic, one) in enumerate(payloads)
        ]
    }


def test_every_record_comes_back_and_a_second_call_changes_nothing(tell: Tell) -> None:
    given = records(
        (state_topic(), state()),
        (alarm_topic(), alarm()),
        (state_topic("nobody"), state("nobody")),
        (state_topic(), b"\xff\xff"),
        (state_topic(), state("lamp-2")),
        (state_topic(), state()),
        # A year ahead: it would stay the latest.
        (state_topic(), state(sequence=365 * 86_400)),
    )
    given["records"].append({"recordId": "r7", "data": b64encode(b"rubbish").decode()})

    async def story(city: Watched) -> None:
        answers = [await transform_records(given, city) for _ in range(2)]
        assert answers[0] == answers[1]
        results = {one["recordId"]: one["result"] for one in answers[0]["records"]}
        failed = "ProcessingFailed"
        assert results == {
            "r0": "Ok", "r1": "Ok", "r2": failed, "r3": failed, "r4": failed, "r5": "Ok",
            "r6": failed, "r7": failed,
        }  # fmt: skip
        lines = b64decode(answers[0]["records"][0]["data"]).splitlines()
        assert [msgspec.json.decode(one)["path"] for one in lines] == ["/3416/0/3", "/3416/0/46"]
        assert {msgspec.json.decode(one)["tenant"] for one in lines} == {"harbour"}
        found = await find_readings(city.telemetry, "lamp-1", None, 0, FOREVER, 100)
        assert sorted(row[3] for row in found) == [0.5, 33.25]
        assert len(await find_alarms(city.telemetry, "lamp-1", 10)) == 1

    tell(story)


def request(body: str, endpoint: str = "lamp-1", **authorizer: Any) -> dict[str, Any]:
    return {
        "pathParameters": {"endpoint": endpoint},
        "body": body,
        "requestContext": {"authorizer": authorizer or {"iam": {"userArn": "arn"}}},
    }


READ = '{"operation": "read", "path": "/3/0/0"}'


def test_a_command_is_kept_published_and_ends_with_its_outcome(tell: Tell) -> None:
    async def story(city: Watched) -> None:
        await answer_event(told(event()), city)
        taken = await post_command(request(READ), city, builtin_names())
        assert taken["statusCode"] == 202
        command_id = msgspec.json.decode(taken["body"])["id"]
        topic, payload = city.published[-1]
        assert topic == "lwm2m/north/lamp-1/command"
        assert decode_command(payload).id == command_id
        outcome = Outcome(id=command_id, operation="read", code="2.05")
        result = event(kind="result", registration=None, result=outcome)
        for _ in range(2):
            assert await conclude(told(result), city) == {"concluded": command_id}
        asked = {**request(""), "pathParameters": {"id": command_id}}
        shown = await get_command(asked, city)
        assert msgspec.json.decode(shown["body"])["state"] == "succeeded"

    tell(story)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("{"), 400),
        (request('{"operation": "read", "path": "x"}'), 400),
        (request(READ, "nobody"), 404),
        (request(READ, "../etc"), 404),
        (request(READ, jwt={"claims": {"cognito:groups": "[harbour:controller]"}}), 202),
        (request(READ, jwt={"claims": {"cognito:groups": "[*:controller x]"}}), 202),
        (request(READ, jwt={"claims": {"cognito:groups": "[airport:controller]"}}), 404),
        (request(READ, jwt={"claims": {"cognito:groups": "[harbour:analyst]"}}), 404),
        (request(READ, jwt={"claims": {}}), 404),
        ({"pathParameters": {"endpoint": "lamp-1"}, "body": READ}, 404),
    ],
)
def test_only_whoever_controls_the_devices_tenant_sends_commands(
    tell: Tell, asked: dict[str, Any], status: int
) -> None:
    async def story(city: Watched) -> None:
        answer = await post_command(asked, city, builtin_names())
        assert answer["statusCode"] == status
        assert (len(city.published) == 1) == (status == 202)

    tell(story)


def test_an_environment_says_what_is_missing() -> None:
    with pytest.raises(WrongEnvironment, match="LAMPLIGHTER_BUCKET"):
        read_environment({"AWS_REGION": "eu-central-1"})
    complete = {"AWS_REGION": "r", "LAMPLIGHTER_BUCKET": "b", "LAMPLIGHTER_NAME": "n"}
    assert read_environment(complete).topics == Topics()
    with pytest.raises(WrongEnvironment, match="LAMPLIGHTER_TOPICS"):
        read_environment({**complete, "LAMPLIGHTER_TOPICS": "{"})
