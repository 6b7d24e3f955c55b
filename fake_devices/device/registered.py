"""A device's registrations, and how little is kept of one that stands while nothing happens.

Most of a city's devices register, and say once in a lifetime that they are still there. Between two
Updates such a device is a name, where it is registered, and when the next Update is due.
"""

from __future__ import annotations

from fake_devices.device.lot import Lot, Made
from fake_devices.device.registrar import AtRest, Registrar
from fake_devices.device.servers import ServerAccount, Servers


class Registered(Made):
    """See the module."""

    __slots__ = ("_held_servers",)

    def __init__(
        self,
        lot: Lot,
        endpoint: str,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> None:
        super().__init__(lot, endpoint, number, accounts)
        self._held_servers: Servers | AtRest | None = None

    @property
    def is_registered(self) -> bool:
        """Whether any server has confirmed a registration that still stands."""
        held = self._held_servers
        return held is not None and (isinstance(held, AtRest) or held.is_registered)

    def account_at(self, uri: str) -> ServerAccount | None:
        """The account of the server with this URI, or None."""
        servers = self._servers
        return None if servers is None else servers.account_at(uri)

    def rest(self) -> bool:
        """Keep only what has to be known of a registration, when there is nothing to send and
        nobody has looked into the device: what it was born with is then what it has. Whether it
        was so."""
        held = self._held_servers
        if not isinstance(held, Servers) or self._tree is not None:
            return False
        environment = self._lot.environment
        found = held.at_rest(environment.settings.lifetime_s, environment.versions[0])
        if found is None:
            return False
        self._held_servers = found
        return True

    @property
    def _has_servers(self) -> bool:
        """Whether there is a server that it registers with."""
        held = self._held_servers
        return held is not None and (isinstance(held, AtRest) or bool(held.registrars))

    @property
    def _servers(self) -> Servers | None:
        """All that is to know of its registrations; wakes one that is at rest."""
        held = self._held_servers
        if isinstance(held, AtRest):
            plan = self.born_setting().plan
            held = self._held_servers = Servers.woken(plan, self.environment.versions, held)
        return held

    @_servers.setter
    def _servers(self, servers: Servers | None) -> None:
        self._held_servers = servers

    @property
    def _registrars(self) -> tuple[Registrar, ...]:
        servers = self._servers
        return () if servers is None else servers.registrars

    def _new_servers(self, now: float, *, after_bootstrap: bool) -> Servers:
        versions = self.environment.versions
        return Servers(self.server_plan(), versions, now, after_bootstrap=after_bootstrap)

    def _of_server(self, short_server_id: int | None) -> Registrar | None:
        servers = self._servers
        return None if servers is None else servers.of_server(short_server_id)

    def _of_instance(self, instance_id: int | None) -> Registrar | None:
        servers = self._servers
        return None if servers is None else servers.of_instance(instance_id)
