"""The template's parts at work in an account that acts: rules fire, functions run, policies hold.

What runs here is what moto only stores. MiniStack is started with IAM enforced: every function has
its own role with the template's policies, and nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from city_platform.aws.envelopes import envelope
from city_platform.aws.operators import OperatorKeys, keys_for, signed_headers
from city_platform.stores.aws.calls import Answer, Aws
from city_platform.stores.aws.config import AwsStores
from city_platform.stores.aws.delivery_stream import DeliveryStream
from city_platform.stores.aws.errors import AwsRefused
from city_platform.stores.aws.opening import open_objects, open_things
from city_platform.stores.aws.policies import policy_document
from city_platform.stores.aws.tables import Table
from city_platform.stores.aws.telemetry_finds import find_alarms, find_readings
from city_platform.stores.object_store import NewObject
from city_platform.stores.thing_registry import Thing
from contracts.credentials import decode_sealed
from contracts.data_interface import encode
from contracts.names import Principal
from contracts.policy import policy_for
from contracts.topics import Topics
from runtime.clock import SystemClock
from tests.city_platform.aws.test_entry_points import DOCUMENT, FOREVER, READ
from tests.city_platform.bootstrap.test_decision import event
from tests.city_platform.ingestion.packs import NOW_S, alarm, alarm_topic, state, state_topic
from tests.city_platform.stores.aws.emulators import HAS_CLIENT, RecordedAws, installation
from tests.city_platform.stores.aws.ministack_child import (
    ACCOUNT,
    MISSING,
    ROOT_KEYS,
    MiniStack,
    ministack,
    ministack_python,
)
from tests.city_platform.stores.test_thing_registry_contract import thing
from tests.deploy.aws_stack import Stack
from tests.deploy.aws_template import Names
from tests.deploy.test_aws_policies import STORIES, make_archive_stream, statements_of
from tests.harness.mqtt_broker.world import Authority, Closed, Peer

pytestmark = [pytest.mark.ministack, pytest.mark.slow, pytest.mark.timeout(600)]
BRIDGE = "svc:bridge:north"


class _Account(RecordedAws):
    """MiniStack has no UpdateThingGroupsForThing: memberships are tried on moto alone."""

    async def call(self, service: str, operation: str, /, **parameters: Any) -> Answer:
        if operation == "update_thing_groups_for_thing":
            return {}
        return await super().call(service, operation, **parameters)


class City(NamedTuple):
    """A deployed account, and whose certificates it knows."""

    stack: MiniStack
    config: AwsStores
    names: Names
    pki: Authority

    def peer(self, identity: str) -> Peer:
        """A connection with the identity's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.stack.ca_file)
        context.load_cert_chain(*self.pki.pair(identity))
        return Peer(self.stack.mqtt, context, 30.0)

    def client(self, identity: str) -> Peer:
        """One that was let in."""
        peer = self.peer(identity)
        connack = peer.connect(identity)
        assert connack is not None
        assert connack.return_code == 0
        return peer

    def tell(self, story: Callable[[RecordedAws], Awaitable[None]]) -> None:
        """Run a story as the account's root."""

        async def run() -> None:
            async with contextlib.AsyncExitStack() as opened:
                await story(_Account(self.config, opened))

        asyncio.run(run())


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    if not HAS_CLIENT or ministack_python() is None:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("ministack")
    with pytest.MonkeyPatch.context() as patch, ministack(folder) as stack:
        for name, value in ROOT_KEYS.items():
            patch.setenv(name, value)
        config = installation(stack.url)
        names = Names(config.bucket, config.name, ACCOUNT)
        made = City(stack, config, names, Authority(folder / "pki", "city"))
        made.tell(lambda aws: _deploy(aws, made))
        yield made


async def _deploy(aws: RecordedAws, city: City) -> None:
    await Stack(aws, city.names, city.stack.url).deploy()
    await make_archive_stream(aws)
    await (await open_things(aws)).put([_thing(city, "lamp-1"), _thing(city, "lamp-2")])
    bridge, _ = city.pki.pair(BRIDGE)
    await (await open_objects(aws)).put(
        [
            NewObject("credentials/lamp-1.json", DOCUMENT),
            NewObject("pki/svc_bridge_north.pem", bridge.read_bytes()),
        ]
    )
    found = await aws.call(
        "iot", "register_certificate_without_ca", certificatePem=bridge.read_text(), status="ACTIVE"
    )
    policy = policy_for(Principal("bridge", BRIDGE, "north"), Topics())
    document = policy_document(policy, BRIDGE, city.names.arn("iot", "").rstrip(":"))
    await aws.call("iot", "create_policy", policyName="north", policyDocument=document)
    await aws.call("iot", "attach_policy", policyName="north", target=str(found["certificateArn"]))


def _thing(city: City, name: str) -> Thing:
    """A thing with the certificate that its connections show."""
    pem, _ = city.pki.pair(name)
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    made = thing(name, groups=("harbour",))
    digest = hashlib.sha256(der).hexdigest()
    own = msgspec.structs.replace(made.certificate, der=der, sha256=digest)
    return msgspec.structs.replace(made, certificate=own)


def test_a_registration_fires_its_rule_and_the_bridge_gets_sealed_credentials(city: City) -> None:
    with city.client(BRIDGE) as bridge:
        assert bridge.subscribe("lwm2m/north/+/credentials") == (1,)
        bridge.publish("lwm2m/north/lamp-1/event/registered", encode(event()))
        message = bridge.message()
    assert message.topic == "lwm2m/north/lamp-1/credentials"
    assert decode_sealed(message.payload).version == "v1"
    assert b"c2VjcmV0" not in message.payload


def test_an_unknown_device_gets_nothing(city: City) -> None:
    with city.client(BRIDGE) as bridge:
        bridge.subscribe("lwm2m/north/+/credentials")
        bridge.publish("lwm2m/north/nobody/event/registered", encode(event(endpoint="nobody")))
        bridge.publish("lwm2m/north/lamp-1/event/registered", encode(event()), 2)
        assert bridge.message().topic == "lwm2m/north/lamp-1/credentials"


def test_records_of_the_stream_are_transformed_stored_and_archived(city: City) -> None:
    async def story(aws: RecordedAws) -> None:
        sent = [
            (state_topic(), state()),
            (alarm_topic(), alarm()),
            (state_topic("no"), state("no")),
        ]
        stream = DeliveryStream(aws, f"{city.config.name}-telemetry")
        await stream.put([envelope(topic, one, int(NOW_S * 1000)) for topic, one in sent])
        table, objects = Table(aws, city.config.telemetry_table), await open_objects(aws)
        found = await find_readings(table, "lamp-1", None, 0, FOREVER, 10)
        assert sorted(row[3] for row in found) == [0.5, 33.25]
        assert len(await find_alarms(table, "lamp-1", 10)) == 1
        archived = await objects.get_many(await objects.names("archive/"))
        lines = b"".join(one for one in archived if one is not None).splitlines()
        assert {msgspec.json.decode(one)["endpoint"] for one in lines} == {"lamp-1"}

    city.tell(story)


def test_a_device_may_publish_what_is_its_own_and_nothing_else(city: City) -> None:
    with city.client("lamp-1") as lamp:
        lamp.publish(state_topic("lamp-1"), state("lamp-1"))
        with pytest.raises(Closed):
            lamp.publish(state_topic("lamp-2"), state("lamp-2"))


def test_nobody_takes_anothers_client_id(city: City) -> None:
    with city.peer("lamp-2") as peer:
        assert peer.connect("lamp-1") is None


def test_a_device_reads_nothing(city: City) -> None:
    # AWS ends the connection of who subscribes beyond its policy.
    with city.client("lamp-1") as lamp, pytest.raises(Closed):
        lamp.subscribe("lwm2m/#")


def test_a_revoked_certificate_is_not_let_in_again(city: City) -> None:
    async def story(aws: RecordedAws) -> None:
        things = await open_things(aws)
        made = _thing(city, "lamp-3")
        await things.put([made])
        city.client("lamp-3").vanish()
        await things.register.tell([made.certificate.sha256], "revoked", 1, "key_compromise")

    city.tell(story)
    with city.peer("lamp-3") as peer:
        assert peer.connect("lamp-3") is None


def test_a_thing_that_is_there_is_updated(city: City) -> None:
    async def story(aws: RecordedAws) -> None:
        things = await open_things(aws)
        for serial in ("S1", "S2"):
            await things.put([msgspec.structs.replace(_thing(city, "lamp-4"), serial=serial)])
        assert "update_thing" in {one.operation for one in aws.recorded}

    city.tell(story)


def _as_the_emulator_asks(statement: dict[str, Any]) -> dict[str, Any]:
    """MiniStack finds no resource in AttachPolicy and DetachPolicy, where AWS has the target's."""
    if "iot:AttachPolicy" in statement["Action"]:
        return {**statement, "Resource": "*"}
    return statement


async def _keys_for(aws: Aws, city: City, owner: str) -> dict[str, str]:
    """Keys of a user that has this policy of the template and no other."""
    user = f"{city.config.name}-{owner}"
    statements = [_as_the_emulator_asks(one) for one in statements_of(owner, city.names)]
    document = {"Version": "2012-10-17", "Statement": statements}
    await aws.call("iam", "create_user", UserName=user)
    await aws.call(
        "iam", "put_user_policy", UserName=user, PolicyName="own",
        PolicyDocument=json.dumps(document),
    )  # fmt: skip
    made = (await aws.call("iam", "create_access_key", UserName=user))["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": str(made["AccessKeyId"]),
        "AWS_SECRET_ACCESS_KEY": str(made["SecretAccessKey"]),
    }


@pytest.mark.parametrize("owner", ["ProvisioningPolicy", "BootstrapPolicy", "IngestionPolicy"])
def test_a_component_does_its_work_with_its_own_policy_alone(
    city: City, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, str] = {}

    async def make_user(aws: RecordedAws) -> None:
        keys.update(await _keys_for(aws, city, owner))

    async def work(aws: RecordedAws) -> None:
        await STORIES[owner](aws, tmp_path)

    city.tell(make_user)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    config = msgspec.structs.replace(
        city.config, create_missing=False, archive_stream=f"{city.config.name}-archive"
    )
    city._replace(config=config).tell(work)


def test_a_component_may_not_do_anothers_work(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, str] = {}

    async def make_user(aws: RecordedAws) -> None:
        keys.update(await _keys_for(aws, city, "BootstrapDrive"))

    city.tell(make_user)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    config = msgspec.structs.replace(city.config, create_missing=False)
    with pytest.raises(AwsRefused, match="AccessDenied"):
        city._replace(config=config).tell(lambda aws: STORIES["ProvisioningPolicy"](aws, tmp_path))


PROVIDER = "cognito-idp.eu-central-1.amazonaws.com"
PASSWORD = "Only-for-this-test-1"


class Desk(NamedTuple):
    """The API, and keys of operators by their group's role."""

    url: str
    keys: dict[str, OperatorKeys]


async def _signed_in(aws: RecordedAws, group: str) -> tuple[str, str, str]:
    """User pool, client and identity token of somebody in a group."""

    async def call(operation: str, **fields: Any) -> Any:
        return await aws.call("cognito-idp", operation, **fields)

    pool = (await call("create_user_pool", PoolName=group))["UserPool"]["Id"]
    made = await call(
        "create_user_pool_client",
        UserPoolId=pool,
        ClientName="operators",
        ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    )
    client = made["UserPoolClient"]["ClientId"]
    user = {"UserPoolId": pool, "Username": "anna"}
    await call("admin_create_user", **user)
    await call("admin_set_user_password", **user, Password=PASSWORD, Permanent=True)
    await call("create_group", UserPoolId=pool, GroupName=group)
    await call("admin_add_user_to_group", **user, GroupName=group)
    signed_in = await call(
        "admin_initiate_auth",
        UserPoolId=pool,
        ClientId=client,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "anna", "PASSWORD": PASSWORD},
    )
    return f"{PROVIDER}/{pool}", client, signed_in["AuthenticationResult"]["IdToken"]


@pytest.fixture(scope="module")
def desk(city: City) -> Desk:
    """An API behind IAM, and operators of two groups. MiniStack knows no roles by group: each group
    has an identity pool of its own, whose role is the group's."""
    keys: dict[str, OperatorKeys] = {}
    apis: list[str] = []

    async def story(aws: RecordedAws) -> None:
        stack = Stack(aws, city.names, city.stack.url)
        api = await stack.make_api()
        apis.append(api)
        for group, role in (("*:controller", "ControllerRole"), ("*:analyst", "AnalystRole")):
            provider, client, token = await _signed_in(aws, group)
            made = await aws.call(
                "cognito-identity",
                "create_identity_pool",
                IdentityPoolName=role,
                AllowUnauthenticatedIdentities=False,
                CognitoIdentityProviders=[{"ProviderName": provider, "ClientId": client}],
            )
            pool = str(made["IdentityPoolId"])
            arn = await stack.make_operators_role(role, api)
            await aws.call(
                "cognito-identity",
                "set_identity_pool_roles",
                IdentityPoolId=pool,
                Roles={"authenticated": arn},
            )
            keys[group] = await keys_for(aws, pool, provider, token)

    city.tell(story)
    return Desk(f"{city.stack.url}/_aws/execute-api/{apis[0]}", keys)


def _answer(method: str, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, body or None, headers, method=method)
    try:
        with opener.open(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _signed(desk: Desk, group: str, method: str, path: str, body: bytes = b"") -> dict[str, str]:
    wall_us = SystemClock().wall_us()
    url = desk.url + path
    return signed_headers(desk.keys[group], "eu-central-1", method, url, body, wall_us)


COMMANDS_PATH = "/v1/devices/lamp-1/commands"


def test_a_controller_signs_a_command_and_asks_for_it(city: City, desk: Desk) -> None:
    body = READ.encode()
    headers = _signed(desk, "*:controller", "POST", COMMANDS_PATH, body)
    status, answer = _answer("POST", desk.url + COMMANDS_PATH, body, headers)
    assert (status, msgspec.json.decode(answer).get("state")) == (202, "queued"), answer
    path = f"/v1/commands/{msgspec.json.decode(answer)['id']}"
    asked = _signed(desk, "*:controller", "GET", path)
    status, answer = _answer("GET", desk.url + path, b"", asked)
    assert (status, msgspec.json.decode(answer)["endpoint"]) == (200, "lamp-1")


def test_an_analysts_keys_send_no_command(city: City, desk: Desk) -> None:
    body = READ.encode()
    headers = _signed(desk, "*:analyst", "POST", COMMANDS_PATH, body)
    assert _answer("POST", desk.url + COMMANDS_PATH, body, headers)[0] == 403


def test_an_analyst_reads_telemetry_and_nothing_else(
    city: City, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = desk.keys["*:analyst"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)

    async def story(aws: RecordedAws) -> None:
        await find_readings(Table(aws, city.config.telemetry_table), "lamp-1", None, 0, FOREVER, 10)
        with pytest.raises(AwsRefused, match="AccessDenied"):
            await Table(aws, city.config.things_table).query("thing")

    city.tell(story)


def test_a_request_that_was_not_signed_or_was_changed_is_refused(city: City, desk: Desk) -> None:
    body = READ.encode()
    assert _answer("POST", desk.url + COMMANDS_PATH, body, {})[0] == 403
    headers = _signed(desk, "*:controller", "POST", COMMANDS_PATH, body)
    assert _answer("POST", desk.url + COMMANDS_PATH, body + b" ", headers)[0] == 403
