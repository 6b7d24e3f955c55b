"""Makes the devices of a fleet from its configuration."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from fake_devices.device import (
    DEFAULT_ACCOUNT,
    Device,
    Environment,
    IncidentPlan,
    ModelTemplate,
    ServerAccount,
    device_models,
    make_template,
)
from fake_devices.devices import MODELS, DeviceIdentity
from fake_devices.fleet.arrivals import phase_of
from fake_devices.fleet.config import DeviceLine, FleetConfig
from fake_devices.fleet.credentials import account_of
from runtime.clock import Clock
from runtime.component import ConfigError
from runtime.journal import JournalSink


def make_devices(
    config: FleetConfig,
    lines: Sequence[DeviceLine],
    peers: Sequence[Hashable],
    clock: Clock,
    journal: JournalSink,
) -> list[Device]:
    """The devices of `lines`, in order; `peers` tell their addresses. Raises `ConfigError`."""
    city_s = clock.wall_us() / 1e6 + config.city_offset_s
    environment = Environment(
        settings=config,
        record=journal.record,
        chance=random.Random(f"{config.seed}/back-off").random,
        draw_boot_id=boot_ids(config.seed, clock),
    )
    incidents = _incidents_by_endpoint(config, lines)
    templates: dict[str, ModelTemplate] = {}
    models = device_models(config.lwm2m_version)
    devices: list[Device] = []
    for number, line in enumerate(lines):
        model = MODELS[line.model]
        identity = DeviceIdentity(
            line.endpoint, line.serial, line.model, line.latitude, line.longitude, config.seed
        )
        accounts = accounts_of(config, line)
        if model.name not in templates:
            templates[model.name] = make_template(
                model,
                identity,
                city_s,
                config.lifetime_s,
                models,
                accounts=accounts,
                lwm2m_version=config.lwm2m_version,
                firmware=config.firmware,
            )
        devices.append(
            Device(
                environment,
                templates[model.name],
                identity,
                model,
                city_s=city_s,
                phase=phase_of(number),
                address=_ip_address(peers[number]),
                incidents=incidents.get(line.endpoint, ()),
                accounts=accounts,
            )
        )
    return devices


def accounts_of(config: FleetConfig, line: DeviceLine) -> tuple[ServerAccount, ...]:
    """What the factory writes into a device: its server, its bootstrap server, or both.

    Raises `ConfigError`.
    """
    found: list[ServerAccount] = []
    if config.bootstrap_server:
        found.append(account_of(line, config.bootstrap_server, None))
    if config.server:
        found.append(account_of(line, config.server, DEFAULT_ACCOUNT.short_server_id))
    return tuple(found)


def _incidents_by_endpoint(
    config: FleetConfig, lines: Sequence[DeviceLine]
) -> dict[str, tuple[IncidentPlan, ...]]:
    known = {line.endpoint for line in lines}
    found: defaultdict[str, list[IncidentPlan]] = defaultdict(list)
    for incident in config.incidents:
        if incident.endpoint not in known:
            raise ConfigError(f"an incident is planned for {incident.endpoint}, which is no device")
        found[incident.endpoint].append(
            IncidentPlan(incident.kind, incident.begins_after_s, incident.ends_after_s)
        )
    return {endpoint: tuple(plans) for endpoint, plans in found.items()}


def boot_ids(seed: int, clock: Clock) -> Callable[[], str]:
    """A source of boot ids."""
    # New at every start of the process too, so the moment of it goes in beside the seed.
    began = f"{seed}/{clock.wall_us()}"
    count = 0

    def draw() -> str:
        nonlocal count
        count += 1
        return hashlib.sha256(f"{began}/{count}".encode()).hexdigest()[:12]

    return draw


def _ip_address(peer: Hashable) -> str:
    # A shared socket's peers begin with the device's address; a socket of its own has the host's.
    match peer:
        case (str(address), _, _):
            return address
        case _:
            return "127.0.0.1"
