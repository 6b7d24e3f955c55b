"""Provisioning's stores, import runner and HTTP interface, put together."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city_platform.broker_access import chance_from
from city_platform.counts_http import metrics_route
from city_platform.graph import BoltBackend, DeviceGraph, GraphProjector, KgliteBackend
from city_platform.identity.gated import gated
from city_platform.provisioning.acts import ActLog, opened_acts
from city_platform.provisioning.api import ProvisioningApi
from city_platform.provisioning.broker_notices import BrokerNotices
from city_platform.provisioning.certificate_routes import CertificateRoutes
from city_platform.provisioning.certificates import Draw
from city_platform.provisioning.config import ProvisioningConfig
from city_platform.provisioning.confirmations import Confirmations
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
from city_platform.stores.opening import open_object_store, open_thing_registry
from city_platform.stores.passing import keep_running
from city_platform.stores.pre_shared_keys import SqlitePreSharedKeyStore
from contracts.api import Settings
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.files import write_atomically
from runtime.http import bind, serving

if TYPE_CHECKING:
    from city_platform.audit.outbox import AuditOutbox

Watch = Callable[[], Coroutine[Any, Any, None]]


async def serve(
    config: ProvisioningConfig, clock: Clock, ready: Ready, draw: Draw, authorities: AuthorityFiles
) -> None:
    """Run imports and answer requests until cancelled."""
    async with contextlib.AsyncExitStack() as opened:
        stores = await _open_stores(config, opened, chance_from(draw))
        await _serve(config, clock, ready, draw, authorities, stores, opened)


async def _open_stores(
    config: ProvisioningConfig, opened: contextlib.AsyncExitStack, chance: Callable[[], float]
) -> Stores:
    state, where = Path(config.state_dir), config.stores
    stores = Stores(
        things=await open_thing_registry(where, state / "things.sqlite", opened, chance),
        directory=SqliteDeviceDirectory(state / "devices.sqlite"),
        objects=await open_object_store(where, state / "objects", opened, chance),
        keys=SqlitePreSharedKeyStore(state / "keys.sqlite"),
    )
    for store in (stores.directory, stores.keys):
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
    acts, outbox = await opened_acts(config.access, config.token_file, clock, draw, opened)
    # Whoever writes things has the turn: an import, a renewal, a removal.
    turn = asyncio.Lock()
    token_file = config.security_token_file or config.token_file
    hand_over = HandOver(stores.keys, lambda: (settings.now.security_api, token_file))
    renewals = Renewals(lambda: (settings.now.bootstrap_api, config.token_file))
    graph, projector = _open_graph(config, clock, stores, draw, opened)
    jobs = Jobs(Path(config.state_dir) / "imports.sqlite")
    opened.callback(jobs.close)
    importer = _importer(config, clock, draw, authorities, stores, opened)
    runner = _runner(
        config, jobs, importer, hand_over, settings, renewals, clock, projector.wake, turn
    )
    lifecycle, removals, certificates, notices, watches = _certificates(
        config, clock, draw, authorities, stores, settings, renewals, projector.wake, turn, acts
    )
    api = ProvisioningApi(runner, jobs, stores, settings, hand_over, draw, config.upload_bytes_max)
    opened.callback(api.close)
    search = SearchRoutes(stores.directory, graph, projector)
    counts = partial(_counts, renewals, notices, outbox, runner, projector)
    measured = metrics_route(counts, "provisioning")
    routes = [*search.routes(), *api.routes(), *certificates.routes(), measured]
    listener = bind(config.http_host, config.http_port)
    opened.callback(listener.close)
    hand_over.wake()
    await runner.recover()
    async with (
        gated(
            routes,
            config.access,
            config.token_file,
            "provisioning",
            clock,
            draw,
            outbox=outbox,
            state_dir=config.state_dir,
        ) as app,
        serving(app, listener) as address,
        asyncio.TaskGroup() as group,
    ):
        others = (hand_over.run, runner.run, renewals.run, projector.run)
        for run in (*others, lifecycle.run, removals.run, *watches):
            group.create_task(keep_running(run, run.__qualname__))
        ready({"http": address})


def _counts(
    renewals: Renewals,
    notices: BrokerNotices,
    outbox: AuditOutbox | None,
    runner: ImportRunner,
    projector: GraphProjector,
) -> dict[str, int]:
    own = {f"renewals.{name}": count for name, count in renewals.counts.items()}
    own |= {f"brokers.{name}": count for name, count in notices.counts.items()}
    own |= {} if outbox is None else outbox.counts
    graph_away_s = math.ceil(projector.away_s)
    return own | {"imports_waiting": runner.waiting, "graph_away_s": graph_away_s}


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
    acts: ActLog,
) -> tuple[CertificateLifecycle, Removals, CertificateRoutes, BrokerNotices, tuple[Watch, ...]]:
    """What is done to certificates after the import, its routes, and what else has to run."""
    pki = Path(config.state_dir) / "pki"
    notices = BrokerNotices(config.brokers, say)
    revocations = Revocations(pki, authorities, stores.things.register, notices.changed)
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
        superseded=lambda: confirmations.superseded(),
        hears_confirmations=lambda: settings.now.bootstrap_api is not None,
    )
    confirmations = _confirmations(config, clock, stores, settings, lifecycle, renewals)
    removals = Removals(
        stores,
        revocations,
        acts,
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
    return lifecycle, removals, routes, notices, (notices.run, confirmations.run)


def _confirmations(
    config: ProvisioningConfig,
    clock: Clock,
    stores: Stores,
    settings: SettingsFile,
    lifecycle: CertificateLifecycle,
    renewals: Renewals,
) -> Confirmations:
    return Confirmations(
        stores.things,
        lambda: (settings.now.bootstrap_api, config.token_file),
        lifecycle.end_overlap,
        renewed=renewals.add,
        every_s=config.confirmations_asked_every_s,
        valid_s=config.confirmed_valid_s,
        wall_us=clock.wall_us,
    )


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
    clock: Clock,
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
        wall_us=clock.wall_us,
        changed=changed,
        turn=turn,
    )


def _open_graph(
    config: ProvisioningConfig,
    clock: Clock,
    stores: Stores,
    draw: Draw,
    opened: contextlib.AsyncExitStack,
) -> tuple[DeviceGraph, GraphProjector]:
    backend = (
        KgliteBackend()
        if config.graph_uri is None
        else BoltBackend(config.graph_uri, config.graph_database, config.graph_password_file)
    )
    graph = DeviceGraph(backend)
    opened.push_async_callback(graph.close)
    return graph, GraphProjector(
        stores.directory, graph, _directory_id(config, draw), clock.now_ns, chance_from(draw)
    )


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
        broker_uri=broker_uri,
        topics=config.topics,
        keep_alive_s=config.keep_alive_s,
        presence=config.presence,
    )
