"""Makes the devices of a fleet from its configuration."""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Final

from fake_devices.device import (
    DEFAULT_ACCOUNT,
    Device,
    Environment,
    IncidentPlan,
    Lot,
    ServerAccount,
    device_models,
    make_template,
)
from fake_devices.devices import MODELS, DeviceIdentity, DeviceModel
from fake_devices.fleet.arrivals import phase_of
from fake_devices.fleet.config import DeviceLine, FleetConfig
from fake_devices.fleet.credentials import account_of, read_own_key
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
    city_s = config.city_s(clock.wall_us())
    environment = Environment(
        settings=config,
        record=journal.record,
        chance=random.Random(f"{config.seed}/back-off").random,
        draw_boot_id=boot_ids(config.seed, clock),
    )
    lots = _Lots(config, environment, city_s, peers, _incidents_by_endpoint(config, lines))
    return [lots.make(number, line) for number, line in enumerate(lines)]


_BOOT_ID_BITS: Final = 48


class _Roll:
    """Who the devices are, in columns: most are asked for their names alone, and a row of its own
    for each would weigh as much as all else that is kept of one that has not registered."""

    def __init__(self) -> None:
        self._serials = bytearray()
        self._serial_ends = array("Q")
        self._latitudes, self._longitudes = array("d"), array("d")

    def add(self, line: DeviceLine) -> None:
        """The device of the next number."""
        self._serials += line.serial.encode()
        self._serial_ends.append(len(self._serials))
        self._latitudes.append(line.latitude)
        self._longitudes.append(line.longitude)

    def identity(self, endpoint: str, number: int, model: str, seed: int) -> DeviceIdentity:
        """The device of this number; its name and its model are known elsewhere."""
        ends = self._serial_ends
        serial = self._serials[ends[number - 1] if number else 0 : ends[number]].decode()
        return DeviceIdentity(
            endpoint, serial, model, self._latitudes[number], self._longitudes[number], seed
        )


class _Lots:
    """The lots of a fleet's devices: one for each model."""

    def __init__(
        self,
        config: FleetConfig,
        environment: Environment,
        city_s: float,
        peers: Sequence[Hashable],
        incidents: Mapping[str, tuple[IncidentPlan, ...]],
    ) -> None:
        self._config = config
        self._environment = environment
        self._city_s = city_s
        self._incidents = incidents
        self._peers = peers
        self._roll = _Roll()
        self._models = device_models(config.lwm2m_version)
        self._lots: dict[str, Lot] = {}
        self._own_keys: dict[str, bytes] = {}
        # Accounts without keys are the same for all.
        self._accounts: dict[tuple[ServerAccount, ...], tuple[ServerAccount, ...]] = {}

    def make(self, number: int, line: DeviceLine) -> Device:
        """The device of one line. Raises `ConfigError`."""
        model = MODELS[line.model]
        self._roll.add(line)
        if line.mqtt_key is not None:
            self._own_keys[line.endpoint] = read_own_key(line.endpoint, Path(line.mqtt_key))
        accounts = accounts_of(self._config, line)
        if not any(each.key for each in accounts):
            accounts = self._accounts.setdefault(accounts, accounts)
        lot = self._lots.get(model.name)
        if lot is None:
            lot = self._lots[model.name] = self._new_lot(model, line, number, accounts)
        return Device.of_lot(lot, line.endpoint, number, accounts)

    def _new_lot(
        self,
        model: DeviceModel,
        first: DeviceLine,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> Lot:
        config, roll = self._config, self._roll

        def identity_of(endpoint: str, number: int) -> DeviceIdentity:
            return roll.identity(endpoint, number, model.name, config.seed)

        template = make_template(
            model,
            identity_of(first.endpoint, number),
            self._city_s,
            config.lifetime_s,
            self._models,
            accounts=accounts,
            lwm2m_version=config.lwm2m_version,
            firmware=config.firmware,
        )
        return Lot(
            self._environment,
            template,
            model,
            self._city_s,
            identity_of,
            phase_of,
            self._address_of,
            self._incidents,
            self._own_keys,
        )

    def _address_of(self, number: int) -> str:
        return _ip_address(self._peers[number])


def accounts_of(config: FleetConfig, line: DeviceLine) -> tuple[ServerAccount, ...]:
    """What the factory writes into a device: its server, its bootstrap server, or both.

    Raises `ConfigError`.
    """
    found: list[ServerAccount] = []
    if config.bootstrap_server:
        found.append(account_of(line, config.bootstrap_server, None))
    server = line.server or config.server
    if server:
        found.append(account_of(line, server, DEFAULT_ACCOUNT.short_server_id))
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
    draw_bits = random.Random(f"{seed}/boot/{clock.wall_us()}").getrandbits

    def draw() -> str:
        return f"{draw_bits(_BOOT_ID_BITS):012x}"

    return draw


def _ip_address(peer: Hashable) -> str:
    # A shared socket's peers begin with the device's address; a socket of its own has the host's.
    match peer:
        case (str(address), _, _):
            return address
        case _:
            return "127.0.0.1"
