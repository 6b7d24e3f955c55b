"""The bootstrap handler as a component: hears registrations, sends sealed credentials, and drives
them again until the server's `bootstrap` event confirms them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.bootstrap.config import BootstrapConfig
from city_platform.bootstrap.decision import Ignore, SendCredentials
from city_platform.bootstrap.documents import Documents
from city_platform.bootstrap.drives import Drives
from city_platform.bootstrap.handler import Message, decide_on, document_version, seal
from city_platform.bootstrap.keys import BridgeKeys
from city_platform.bootstrap.stands import StandStore
from city_platform.broker_access import Draw, chance_from, open_client, split_address
from city_platform.counts_http import standard_routes
from city_platform.due_timer import DueTimer
from city_platform.endpoint_topics import read_event_topic
from city_platform.event_heads import decode_event_head
from city_platform.identity.gated import gated
from city_platform.rules import CallbackTarget, Rule, RuleRunner, default_rules, load_rules
from city_platform.stores.device_directory import DeviceDirectory, SqliteDeviceDirectory
from city_platform.stores.opening import open_object_store
from contracts.api import ConfirmedVersions, DevicesAsked
from contracts.errors import ContractError
from contracts.names import service_identity
from contracts.topics import EventTopic, Topics
from mqtt.connection import QueueFull
from mqtt.transport.client import MqttClient
from runtime.clock import Clock
from runtime.component import Ready
from runtime.http import BodyTooLarge, bind, json_response, problem, read_body, serving

_log = logging.getLogger(__name__)

# How many are driven again in one go, before the loop may do something else.
DRIVES_AT_ONCE = 100
# Messages that are handled each alone after they could not be among others.
ALONE_MAX = 1_000
# Thousands of endpoint names.
ASKED_BYTES_MAX = 1_048_576


async def run(
    config: BootstrapConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom
) -> None:
    """Hand out credentials until cancelled; ready once subscribed and serving HTTP."""
    kept, chance = contextlib.AsyncExitStack(), chance_from(draw)
    store = await open_object_store(config.stores, Path(config.objects_dir), kept, chance)
    stands = StandStore(Path(config.state_dir) / "bootstrap.sqlite")
    drives = Drives(config.times, chance_from(draw), await stands.load())
    documents = Documents(store)
    directory = _directory(config)
    component = BootstrapComponent(config, clock, documents, stands, drives, directory)
    runner = RuleRunner(
        None, _rules(config), component.targets,
        topics=config.topics, limits=config.limits, chance=chance_from(draw),
    )  # fmt: skip
    client = open_client(
        config.broker, service_identity("bootstrap"), clock,
        subscriptions=runner.subscriptions, on_message=runner.handle_message, draw=draw,
    )  # fmt: skip
    runner.use_client(client)
    component.use_client(client)
    try:
        await _serve(config, clock, draw, component, runner, client, ready)
    finally:
        await runner.close()
        # What is still being read is kept in `stands`.
        await documents.close()
        await stands.close()
        await kept.aclose()
        if directory is not None:
            directory.close()
        _log.info("counts: %s", dict(sorted(component.all_counts(runner).items())))


async def _serve(
    config: BootstrapConfig,
    clock: Clock,
    draw: Draw,
    component: BootstrapComponent,
    runner: RuleRunner,
    client: MqttClient,
    ready: Ready,
) -> None:
    routes = [
        *standard_routes(lambda: component.all_counts(runner), "bootstrap"),
        *component.routes,
    ]
    async with (
        asyncio.TaskGroup() as tasks,
        gated(
            routes, config.access, config.token_file, "bootstrap", clock, draw,
            state_dir=config.state_dir,
        ) as app,
        serving(app, bind(*split_address(config.http))) as address,
    ):  # fmt: skip
        tasks.create_task(client.run())
        tasks.create_task(component.drive())
        await client.connected.wait()
        ready({"http": address})
        await asyncio.get_running_loop().create_future()


class BootstrapComponent:
    """The targets of the rules, the driver, and the HTTP routes."""

    def __init__(
        self,
        config: BootstrapConfig,
        clock: Clock,
        documents: Documents,
        stands: StandStore,
        drives: Drives,
        directory: DeviceDirectory | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._documents = documents
        self._stands = stands
        self._drives = drives
        self._topics: Topics = config.topics
        self._nosec_allowed = config.nosec_allowed
        self._directory = directory
        self._keys = BridgeKeys(Path(config.pki_dir), clock.now_ns)
        self._client: MqttClient | None = None
        self._timer = DueTimer(clock)
        self._wake_is_due = False
        # Topics whose last message could not be handled, among others.
        self._alone: dict[str, None] = {}

    @property
    def targets(self) -> Mapping[str, CallbackTarget]:
        """What rules may name."""
        return {
            "registered": CallbackTarget(self._registered),
            "bootstrap": CallbackTarget(self._confirmed),
            "deregistered": CallbackTarget(self._deregistered),
        }

    @property
    def routes(self) -> list[Route]:
        """HTTP: a device's credentials were renewed; which devices have theirs."""
        return [
            Route("/v1/devices/{endpoint}/renewed", self._renewed, methods=["POST"]),
            Route("/v1/confirmed", self._confirmed_versions, methods=["POST"]),
        ]

    def use_client(self, client: MqttClient) -> None:
        """The client to publish with."""
        self._client = client

    def all_counts(self, runner: RuleRunner) -> dict[str, int]:
        """Everything counted, by reason."""
        drives = self._drives
        own = {
            **self.counts,
            **drives.counts,
            "pending": drives.pending,
            "queued": drives.queued,
            "on_their_way": drives.on_their_way,
        }
        return own | {f"rules.{name}": count for name, count in runner.counts.items()}

    async def drive(self) -> None:
        """Send again what is due, until cancelled."""
        while True:
            await self._timer.sleep_until(self._drives.next_timer())
            again, given_up = self._drives.due(self._clock.wall_us(), DRIVES_AT_ONCE)
            for kept in {self._stands.put(row) for row in given_up}:
                await self._wait_for(kept)
            # What was published before is still in the client's queue while it is away.
            if self._client is not None and self._client.connected.is_set():
                await self._send_again(again)

    def _wake_soon(self) -> None:
        """Let the driver look when it is due next: once a turn of the loop, for all that came."""
        if not self._wake_is_due:
            self._wake_is_due = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_is_due = False
        self._timer.wake_for(self._drives.next_timer())

    async def _wait_for(self, kept: asyncio.Future[None]) -> None:
        try:
            await asyncio.shield(kept)
        except sqlite3.OperationalError as error:
            # In memory it is given up; behind a kill the device would be driven once more.
            self.counts["given_up_unwritten"] += 1
            _log.warning("that a device was given up cannot be kept now: %s", error)

    # ---- targets ----

    def _registered(self, topic: str, payload: bytes) -> Awaitable[None]:
        told = read_event_topic(self._topics.event, topic)
        if topic in self._alone:
            return self._registered_alone(topic, told, payload)
        # One future for many: of these there are as many as registrations.
        taker = partial(self._document_read, topic, told, payload)
        return self._documents.take(told.endpoint if told else "", taker)

    def _document_read(
        self, topic: str, told: EventTopic | None, payload: bytes, document: bytes | None
    ) -> asyncio.Future[None] | None:
        try:
            if document is None and self._directory is not None:
                return asyncio.ensure_future(self._answer_without_document(told, payload))
            return self._answer(told, payload, document, is_known=True)
        except Exception:
            # All that were read together are tried again: this one alone, so that others do not
            # share its fate for ever.
            if len(self._alone) >= ALONE_MAX:
                self._alone.clear()
            self._alone[topic] = None
            raise

    async def _registered_alone(self, topic: str, told: EventTopic | None, payload: bytes) -> None:
        document = await self._documents.get(told.endpoint if told else "")
        kept = self._document_read(topic, told, payload, document)
        self._alone.pop(topic, None)
        if kept is not None:
            await asyncio.shield(kept)

    async def _answer_without_document(self, told: EventTopic | None, payload: bytes) -> None:
        is_known = await self._is_known(told.endpoint if told else "")
        kept = self._answer(told, payload, None, is_known=is_known)
        if kept is not None:
            await asyncio.shield(kept)

    def _answer(
        self, told: EventTopic | None, payload: bytes, document: bytes | None, *, is_known: bool
    ) -> asyncio.Future[None] | None:
        """Send what a registration asks for; what is returned is done when that is kept."""
        endpoint = told.endpoint if told else ""
        decision = decide_on(
            told,
            payload,
            document=document,
            is_known=is_known,
            confirmed_version=self._drives.confirmed_version(endpoint),
            nosec_allowed=self._nosec_allowed,
        )
        if isinstance(decision, Ignore):
            self.counts[f"ignored.{decision.reason}"] += 1
            return None
        if self._drives.is_pending(decision):
            return self._settle(endpoint)
        kept = self._begin(decision)
        if document is not None and self._drives.may_send(endpoint, self._clock.wall_us()):
            self._seal_and_publish(decision, document)
        return kept

    def _settle(self, endpoint: str) -> asyncio.Future[None] | None:
        """It is told again what is under way."""
        self._drives.settle(endpoint, self._clock.wall_us())
        self._wake_soon()
        row = self._drives.get(endpoint)
        # Kept again too: it may be told again because it could not be kept the first time.
        return None if row is None else self._stands.put(row)

    def _confirmed(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        try:
            event = decode_event_head(payload)
        except ContractError:
            self.counts["ignored.malformed"] += 1
            return None
        completed = event.completed
        if completed is None or event.endpoint != _endpoint_of(self._topics, topic):
            self.counts["ignored.malformed"] += 1
            return None
        row = self._drives.confirm(
            event.endpoint,
            event.server,
            event.registration_id,
            completed.version,
            self._clock.wall_us(),
        )
        if row is None:
            return None
        # There is room for another one.
        self._wake_soon()
        return self._stands.put(row)

    def _deregistered(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        try:
            event = decode_event_head(payload)
        except ContractError:
            self.counts["ignored.malformed"] += 1
            return None
        row = self._drives.end_registration(event.endpoint, event.registration_id or "")
        return None if row is None else self._stands.put(row)

    async def _is_known(self, endpoint: str) -> bool:
        return self._directory is None or await self._directory.get(endpoint) is not None

    # ---- sending ----

    def _begin(self, sends: SendCredentials) -> asyncio.Future[None]:
        kept = self._stands.put(self._drives.begin(sends, self._clock.wall_us()))
        self._wake_soon()
        return kept

    async def _send_again(self, again: Sequence[SendCredentials]) -> None:
        """What fails stays pending, and is due again later: the driver goes on."""
        if not again:
            return
        try:
            found = await self._documents.get_many([sends.endpoint for sends in again])
        except Exception as error:  # a boundary: stores have errors of their own
            self.counts["store_failed"] += 1
            _log.warning("the object store cannot be read: %s", error)
            return
        ended = await self._send_all(again, found)
        failures = [failure for failure in ended if isinstance(failure, Exception)]
        if failures:
            self.counts["drive_failed"] += len(failures)
            _log.warning("%d cannot be driven again now: %r", len(failures), failures[0])

    async def _send_all(
        self, again: Sequence[SendCredentials], found: Sequence[bytes | None]
    ) -> Sequence[BaseException | None]:
        """How they ended; no one's failure is another's."""
        ended: list[BaseException | None] = []
        renewed: list[asyncio.Future[None]] = []
        for sends, document in zip(again, found, strict=True):
            try:
                under_way = self._send_with(sends, document)
            except Exception as error:  # a boundary: one device's, told by who drives
                ended.append(error)
            else:
                if under_way is not None:
                    renewed.append(under_way)
        return ended + await asyncio.gather(*renewed, return_exceptions=True)

    def _send_with(
        self, sends: SendCredentials, document: bytes | None
    ) -> asyncio.Future[None] | None:
        try:
            version = document_version(sends.endpoint, document)
        except ContractError:
            version = None
        if document is None or version is None:
            self.counts["ignored.no_credentials"] += 1
        elif version != sends.version:
            # Renewed while the older version was on its way.
            newest = SendCredentials(sends.endpoint, sends.server, sends.registration_id, version)
            return asyncio.ensure_future(self._send_renewed(newest, document))
        elif self._drives.is_pending(sends):
            self._seal_and_publish(sends, document)
        return None

    async def _send_renewed(self, sends: SendCredentials, document: bytes) -> None:
        await asyncio.shield(self._begin(sends))
        is_due = self._drives.may_send(sends.endpoint, self._clock.wall_us())
        if is_due and self._drives.is_pending(sends):
            self._seal_and_publish(sends, document)

    def _seal_and_publish(self, sends: SendCredentials, document: bytes) -> None:
        answer = seal(sends, document, self._keys.sealer_for, self._topics)
        if isinstance(answer, Ignore):
            self.counts[f"ignored.{answer.reason}"] += 1
        else:
            self._publish(answer)

    def _publish(self, message: Message) -> None:
        client = self._client
        assert client is not None
        try:
            client.publish(message.topic, message.payload, on_acknowledged=self._count_acknowledged)
            self.counts["published"] += 1
        except QueueFull:
            self.counts["queue_full"] += 1

    def _count_acknowledged(self) -> None:
        self.counts["acknowledged"] += 1

    # ---- HTTP ----

    async def _renewed(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        row = self._drives.get(endpoint)
        document = await self._documents.get(endpoint)
        if row is None or document is None:
            return problem(
                404, "unknown device", f"{endpoint} has not registered or no credentials"
            )
        try:
            version = document_version(endpoint, document)
        except ContractError:
            return problem(409, "malformed credentials file", f"{endpoint}: import it again")
        if version is None or version == row.confirmed_version:
            return json_response({"endpoint": endpoint, "driven": False})
        sends = SendCredentials(endpoint, row.server, row.registration_id, version)
        await asyncio.shield(self._begin(sends))
        if self._drives.may_send(endpoint, self._clock.wall_us()):
            await self._send_again([sends])
        return json_response({"endpoint": endpoint, "driven": True}, 202)

    async def _confirmed_versions(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(
                await read_body(request, ASKED_BYTES_MAX), type=DevicesAsked
            )
        except (BodyTooLarge, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, "wrong request", str(error))
        found = {name: self._drives.confirmed_version(name) for name in asked.endpoints}
        versions = {name: version for name, version in found.items() if version is not None}
        return json_response(ConfirmedVersions(versions=versions))


def _directory(config: BootstrapConfig) -> DeviceDirectory | None:
    if config.directory_file is None:
        return None
    return SqliteDeviceDirectory(Path(config.directory_file))


def _rules(config: BootstrapConfig) -> list[Rule]:
    if config.rules_file is not None:
        return load_rules(Path(config.rules_file))
    return default_rules("city_platform.bootstrap")


def _endpoint_of(topics: Topics, topic: str) -> str:
    found = read_event_topic(topics.event, topic)
    return found.endpoint if found is not None else ""
