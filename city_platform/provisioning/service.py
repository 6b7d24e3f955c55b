"""Provisioning's stores, import runner and HTTP interface, put together."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from city_platform.provisioning.api import ProvisioningApi
from city_platform.provisioning.certificates import Authority, Draw
from city_platform.provisioning.config import ProvisioningConfig
from city_platform.provisioning.credentials import CredentialsPlan
from city_platform.provisioning.hand_over import HandOver, read_token
from city_platform.provisioning.importing import Importer, Stores
from city_platform.provisioning.jobs import Jobs
from city_platform.provisioning.renewals import Renewals
from city_platform.provisioning.runner import ImportRunner
from city_platform.provisioning.settings import SettingsFile
from city_platform.stores.device_directory import SqliteDeviceDirectory
from city_platform.stores.object_store import FileObjectStore
from city_platform.stores.pre_shared_keys import SqlitePreSharedKeyStore
from city_platform.stores.thing_registry import SqliteThingRegistry
from contracts.api import Settings
from runtime.clock import Clock
from runtime.component import Ready
from runtime.http import bind, make_app, serving


async def serve(
    config: ProvisioningConfig, clock: Clock, ready: Ready, draw: Draw, authority: Authority
) -> None:
    """Run imports and answer requests until cancelled."""
    async with contextlib.AsyncExitStack() as opened:
        stores = _open_stores(Path(config.state_dir), opened)
        await _serve(config, clock, ready, draw, authority, stores, opened)


def _open_stores(state: Path, opened: contextlib.AsyncExitStack) -> Stores:
    stores = Stores(
        things=SqliteThingRegistry(state / "things.sqlite"),
        directory=SqliteDeviceDirectory(state / "devices.sqlite"),
        objects=FileObjectStore(state / "objects"),
        keys=SqlitePreSharedKeyStore(state / "keys.sqlite"),
    )
    for store in (stores.things, stores.directory, stores.objects, stores.keys):
        opened.callback(store.close)
    return stores


async def _serve(
    config: ProvisioningConfig,
    clock: Clock,
    ready: Ready,
    draw: Draw,
    authority: Authority,
    stores: Stores,
    opened: contextlib.AsyncExitStack,
) -> None:
    state = Path(config.state_dir)
    uploads = state / "uploads"
    uploads.mkdir(mode=0o700, exist_ok=True)
    settings = SettingsFile(
        state / "settings.json",
        Settings(
            broker_uri=config.broker_uri,
            security_api=config.security_api,
            bootstrap_api=config.bootstrap_api,
        ),
    )
    jobs = Jobs(state / "imports.sqlite")
    opened.callback(jobs.close)
    executor = opened.enter_context(ThreadPoolExecutor(1, thread_name_prefix="certificates"))
    importer = Importer(
        stores,
        authority,
        lifetime=timedelta(days=config.certificate_lifetime_days),
        wall_us=clock.wall_us,
        draw=draw,
        executor=executor,
    )
    token_file = config.security_token_file or config.token_file
    hand_over = HandOver(stores.keys, lambda: (settings.now.security_api, token_file))
    renewals = Renewals(lambda: (settings.now.bootstrap_api, config.token_file))
    runner = ImportRunner(
        jobs,
        importer,
        hand_over,
        lambda: _plan(config, settings),
        uploads,
        row_bytes_max=config.row_bytes_max,
        rows_max=config.rows_max,
        waiting_max=config.imports_waiting_max,
        hand_over_within_s=config.hand_over_within_s,
        renewed=renewals.add,
    )
    api = ProvisioningApi(runner, jobs, stores, settings, hand_over, draw, config.upload_bytes_max)
    opened.callback(api.close)
    token = read_token(config.token_file)
    listener = bind(config.http_host, config.http_port)
    hand_over.wake()
    await runner.recover()
    async with (
        serving(make_app(api.routes(), token), listener) as address,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(hand_over.run())
        group.create_task(runner.run())
        group.create_task(renewals.run())
        ready({"http": address})


def _plan(config: ProvisioningConfig, settings: SettingsFile) -> CredentialsPlan | None:
    broker_uri = settings.now.broker_uri
    if broker_uri is None:
        return None
    return CredentialsPlan(
        broker_uri=broker_uri, topics=config.topics, keep_alive_s=config.keep_alive_s
    )
