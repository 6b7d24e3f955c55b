"""Provisioning's stores, import runner and HTTP interface, put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from city_platform.graph import BoltBackend, DeviceGraph, GraphProjector, KgliteBackend
from city_platform.identity.gated import gated
from city_platform.provisioning.acts import LoggedActs
from city_platform.provisioning.api import ProvisioningApi
from city_platform.provisioning.certificate_routes import CertificateRoutes
from city_platform.provisioning.certificates import Draw
from city_platform.provisioning.config import ProvisioningConfig
from city_platform.provisioning.credentials import CredentialsPlan
from city_platform.provisioning.hand_over import HandOver
from city_platform.provisioning.importing import Importer, Stores
from city_platform.provisioning.jobs import Jobs
from city_platform.provisioning.lifecycle import CertificateLifecycle
from city_platform.provisioning.pki import issue_for_services
from city_platform.provisioning.removal import Removals
from city_platform.provisioning.renewals import Renewals
from city_platform.provisioning.revocations import Revocations
from city_platform.provisioning.rollover import AuthorityFiles
from city_platform.provisioning.runner import ImportRunner
from city_platform.provisioning.search_routes import SearchRoutes
from city_platform.provisioning.settings import SettingsFile
from city_platform.stores.device_directory import SqliteDeviceDirectory
from city_platform.stores.object_store import FileObjectStore
from city_platform.stores.pre_shared_keys import SqlitePreSharedKeyStore
from city_platform.stores.thing_registry import SqliteThingRegistry
from contracts.api import Settings
from runtime.clock import Clock
from runtime.component import Ready
from runtime.files import write_atomically
from runtime.http import bind, serving


async def serve(
    config: ProvisioningConfig, clock: Clock, ready: Ready, draw: Draw, authorities: AuthorityFiles
) -> None:
    """Run imports and answer requests until cancelled."""
    async with contextlib.AsyncExitStack() as opened:
        stores = _open_stores(Path(config.state_dir), opened)
        await _serve(config, clock, ready, draw, authorities, stores, opened)


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
    authorities: AuthorityFiles,
    stores: Stores,
    opened: contextlib.AsyncExitStack,
) -> None:
    settings = _settings(config)
    # Whoever writes things has the turn: an import, a renewal, a removal.
    turn = asyncio.Lock()
    token_file = config.security_token_file or config.token_file
    hand_over = HandOver(stores.keys, lambda: (settings.now.security_api, token_file))
    renewals = Renewals(lambda: (settings.now.bootstrap_api, config.token_file))
    graph, projector = _open_graph(config, stores, draw, opened)
    jobs = Jobs(Path(config.state_dir) / "imports.sqlite")
    opened.callback(jobs.close)
    runner = _runner(
        config,
        jobs,
        _importer(config, clock, draw, authorities, stores, opened),
        hand_over,
        settings,
        renewals,
        projector.wake,
        turn,
    )
    lifecycle, removals, certificates = _certificates(
        config,
        clock,
        draw,
        authorities,
        stores,
        settings,
        renewals,
        projector.wake,
        turn,
    )
    api = ProvisioningApi(runner, jobs, stores, settings, hand_over, draw, config.upload_bytes_max)
    opened.callback(api.close)
    search = SearchRoutes(stores.directory, graph, projector)
    routes = [*search.routes(), *api.routes(), *certificates.routes()]
    listener = bind(config.http_host, config.http_port)
    opened.callback(listener.close)
    hand_over.wake()
    await runner.recover()
    async with (
        gated(routes, config.access, config.token_file, "provisioning", clock, draw) as app,
        serving(app, listener) as address,
        asyncio.TaskGroup() as group,
    ):
        for run in (hand_over.run, runner.run, renewals.run):
            group.create_task(run())
        for run in (projector.run, lifecycle.run, removals.run):
            group.create_task(run())
        ready({"http": address})


def _certificates(
    config: ProvisioningConfig,
    clock: Clock,
    draw: Draw,
    authorities: AuthorityFiles,
    stores: Stores,
    settings: SettingsFile,
    renewals: Renewals,
    changed: Callable[[], None],
    turn: asyncio.Lock,
) -> tuple[CertificateLifecycle, Removals, CertificateRoutes]:
    """What is done to certificates after the import, and its routes."""
    pki = Path(config.state_dir) / "pki"
    revocations = Revocations(pki, authorities, stores.things.register)
    lifecycle = CertificateLifecycle(
        stores,
        authorities,
        revocations,
        lifetime=timedelta(days=config.certificate_lifetime_days),
        renew_before=timedelta(days=config.renew_before_days),
        overlap=timedelta(days=config.superseded_valid_days),
        wall_us=clock.wall_us,
        draw=draw,
        renewed=renewals.add,
        turn=turn,
    )
    removals = Removals(
        stores,
        revocations,
        LoggedActs(),
        lambda: (
            settings.now.security_api,
            config.security_token_file or config.token_file,
        ),
        wall_us=clock.wall_us,
        changed=changed,
        turn=turn,
    )

    def reissue() -> None:
        issue_for_services(pki, authorities, config.services, config.broker_hosts, clock.wall_us())

    routes = CertificateRoutes(
        stores,
        authorities,
        lifecycle,
        revocations,
        removals,
        reissue=reissue,
        wall_us=clock.wall_us,
    )
    return lifecycle, removals, routes


def _settings(config: ProvisioningConfig) -> SettingsFile:
    return SettingsFile(
        Path(config.state_dir) / "settings.json",
        Settings(
            broker_uri=config.broker_uri,
            security_api=config.security_api,
            bootstrap_api=config.bootstrap_api,
        ),
    )


def _importer(
    config: ProvisioningConfig,
    clock: Clock,
    draw: Draw,
    authorities: AuthorityFiles,
    stores: Stores,
    opened: contextlib.AsyncExitStack,
) -> Importer:
    return Importer(
        stores,
        lambda: authorities.signing,
        lifetime=timedelta(days=config.certificate_lifetime_days),
        wall_us=clock.wall_us,
        draw=draw,
        executor=opened.enter_context(ThreadPoolExecutor(1, thread_name_prefix="certificates")),
    )


def _runner(
    config: ProvisioningConfig,
    jobs: Jobs,
    importer: Importer,
    hand_over: HandOver,
    settings: SettingsFile,
    renewals: Renewals,
    changed: Callable[[], None],
    turn: asyncio.Lock,
) -> ImportRunner:
    uploads = Path(config.state_dir) / "uploads"
    uploads.mkdir(mode=0o700, exist_ok=True)
    return ImportRunner(
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
        changed=changed,
        turn=turn,
    )


def _open_graph(
    config: ProvisioningConfig, stores: Stores, draw: Draw, opened: contextlib.AsyncExitStack
) -> tuple[DeviceGraph, GraphProjector]:
    backend = (
        KgliteBackend()
        if config.graph_uri is None
        else BoltBackend(config.graph_uri, config.graph_database, config.graph_password_file)
    )
    graph = DeviceGraph(backend)
    opened.push_async_callback(graph.close)
    return graph, GraphProjector(stores.directory, graph, _directory_id(config, draw))


def _directory_id(config: ProvisioningConfig, draw: Draw) -> str:
    """What a graph that others keep knows this installation's directory by; drawn once."""
    path = Path(config.state_dir) / "directory_id"
    if not path.exists():
        write_atomically(path, draw(16).hex().encode(), sync=True)
    return path.read_text(encoding="ascii")


def _plan(config: ProvisioningConfig, settings: SettingsFile) -> CredentialsPlan | None:
    broker_uri = settings.now.broker_uri
    if broker_uri is None:
        return None
    return CredentialsPlan(
        broker_uri=broker_uri, topics=config.topics, keep_alive_s=config.keep_alive_s
    )
