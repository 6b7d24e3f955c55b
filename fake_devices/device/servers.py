"""The servers of one device: its accounts in objects 0 and 1, and a registration with each.

The order among several servers, and when their failure means to bootstrap again, are the Server
object's rules (`lwm2m.registration`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fake_devices.device.actions import SendRequest
from fake_devices.device.environment import Environment
from fake_devices.device.registrar import AtRest, Client, Registrar
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.bootstrap import ServerAccount, read_accounts
from lwm2m.objects import NULL_ID, ObjectPath, Value
from lwm2m.registration import RegistrationOrder, ServerRules, read_rules
from lwm2m.reporting import Right
from lwm2m.reporting.access import ACCESS_CONTROL_OBJECT, BOOTSTRAP_OWNED, DEFAULT_SERVER

__all__ = [
    "DEFAULT_ACCOUNT",
    "ServerAccount",
    "ServerPlan",
    "Servers",
    "access_values",
    "account_values",
    "find_plan",
    "read_plan",
]

_SECURITY, _SERVER = 0, 1
_LIFETIME: Final = 1
_PLANS_KEPT: Final = 256
_ALL_RIGHTS: Final = Right.READ | Right.WRITE | Right.EXECUTE | Right.DELETE
DEFAULT_ACCOUNT: Final = ServerAccount(101, "coap://127.0.0.1:5683")
"""The account of a device that was given no other; its id is the models' `SHORT_SERVER_ID`."""


def account_values(accounts: Sequence[ServerAccount], server_values: Changes) -> Changes:
    """What a factory writes into /0 and /1; `server_values` are the model's own of /1/0.

    Instances are numbered in the order of `accounts`.
    """
    values: Changes = {}
    servers = 0
    for number, account in enumerate(accounts):
        values |= _security_values(number, account)
        if account.short_server_id is not None:
            for path, value in server_values.items():
                values[ObjectPath(_SERVER, servers, path.resource_id)] = value
            values[ObjectPath(_SERVER, servers, 0)] = account.short_server_id
            servers += 1
    return values


def access_values(
    instances: Iterable[ObjectPath], accounts: Sequence[ServerAccount], creatable: Iterable[int]
) -> Changes:
    """What a factory writes into /2 of a device with several servers, whose rights count then.

    All servers may do everything, but each sees to its own Server object alone.
    """
    servers = [each.short_server_id for each in accounts if each.short_server_id is not None]
    if len(servers) < 2:
        return {}
    rows: list[tuple[int, int, int, int]] = [
        (_SERVER, number, server, _ALL_RIGHTS) for number, server in enumerate(servers)
    ]
    rows += [
        (each.object_id, each.instance_id or 0, DEFAULT_SERVER, _ALL_RIGHTS)
        for each in instances
        if each.object_id > ACCESS_CONTROL_OBJECT
    ]
    rows += [(number, NULL_ID, DEFAULT_SERVER, Right.CREATE) for number in creatable]
    values: Changes = {}
    for number, (object_id, instance_id, server, rights) in enumerate(rows):
        control = ObjectPath(ACCESS_CONTROL_OBJECT, number)
        values[control.child(0)] = object_id
        values[control.child(1)] = instance_id
        values[control.child(2).child(server)] = int(rights)
        values[control.child(3)] = BOOTSTRAP_OWNED
    return values


def _security_values(instance_id: int, account: ServerAccount) -> Changes:
    rows: dict[int, Value] = {
        0: account.uri,
        1: account.is_bootstrap,
        2: account.security_mode,
        3: account.identity,
        4: account.server_key,
        5: account.key,
    }
    if account.short_server_id is not None:
        rows[10] = account.short_server_id
    if account.hold_off_s:
        rows[11] = account.hold_off_s
    if account.account_timeout_s:
        rows[12] = account.account_timeout_s
    if account.sni is not None:
        rows[14] = account.sni
    return {ObjectPath(_SECURITY, instance_id, number): rows[number] for number in rows}


class ServerPlan(NamedTuple):
    """The accounts of a device; servers with their rules and lifetimes in seconds."""

    bootstrap_account: ServerAccount | None
    servers: tuple[tuple[ServerAccount, ServerRules, int], ...]


class Servers:
    """The registrations of one device; `bootstrap_account` is what is in /0 beside them."""

    __slots__ = ("_order", "bootstrap_account", "registrars")

    def __init__(
        self, plan: ServerPlan, versions: Sequence[str], now: float, *, after_bootstrap: bool
    ) -> None:
        """Register with all servers of `plan`, offering these LwM2M versions."""
        # Only among several servers there is an order.
        self._order: RegistrationOrder | None = None
        self.bootstrap_account = plan.bootstrap_account
        self.registrars: tuple[Registrar, ...]
        if len(plan.servers) == 1 and not after_bootstrap:
            account, rules, lifetime_s = plan.servers[0]
            registrar = Registrar(account, rules, lifetime_s, versions)
            self.registrars = (registrar,)
            registrar.start()
        else:
            self.registrars = tuple(
                [
                    Registrar(account, rules, lifetime_s, versions)
                    for account, rules, lifetime_s in plan.servers
                ]
            )
            rules_of_all = [rules for _, rules, _ in plan.servers]
            self._order = RegistrationOrder(rules_of_all, now, is_first=after_bootstrap)

    @classmethod
    def woken(cls, plan: ServerPlan, versions: Sequence[str], at_rest: AtRest) -> Servers:
        """As they were when `at_rest` told what to keep."""
        [(account, rules, lifetime_s)] = plan.servers
        found = cls.__new__(cls)
        found._order = found.bootstrap_account = None
        found.registrars = (Registrar(account, rules, lifetime_s, versions, at_rest),)
        return found

    def at_rest(self, lifetime_s: int, version: str) -> AtRest | None:
        """What to keep of one registration that stands, of a device that was born with this
        lifetime and LwM2M version; None when there is more to know."""
        if self._order is not None or self.bootstrap_account is not None:
            return None
        return self.registrars[0].at_rest(lifetime_s, version)

    @property
    def is_registered(self) -> bool:
        """Whether any server has confirmed a registration that still stands."""
        for registrar in self.registrars:  # noqa: SIM110  # a generator costs more than all of it
            if registrar.is_registered:
                return True
        return False

    def next_timer(self) -> float | None:
        """When `take_requests` has to be called."""
        registrars = self.registrars
        if self._order is None and len(registrars) == 1:
            return registrars[0].next_timer()
        at = None if self._order is None else self._order.next_timer()
        for registrar in self.registrars:
            due_at = registrar.next_timer()
            if due_at is not None and (at is None or due_at < at):
                at = due_at
        return at

    def take_requests(self, client: Client, now: float) -> Sequence[SendRequest]:
        """Registers, Updates and De-registers that are due."""
        if self._order is not None:
            for number in self._order.take_due(now):
                registrar = self.of_server(number)
                assert registrar is not None
                registrar.start()
        found: list[SendRequest] = []
        for registrar in self.registrars:
            request = registrar.take_request(client, now)
            if request is not None:
                found.append(request)
        return found

    def of_server(self, short_server_id: int | None) -> Registrar | None:
        """The registration with the server of this id."""
        for registrar in self.registrars:
            if registrar.account.short_server_id == short_server_id:
                return registrar
        return None

    def of_instance(self, instance_id: int | None) -> Registrar | None:
        """The registration whose rules are in this instance of /1."""
        for registrar in self.registrars:
            if registrar.account.server_instance == instance_id:
                return registrar
        return None

    def account_at(self, uri: str) -> ServerAccount | None:
        """The account of the server with this URI."""
        for registrar in self.registrars:
            if registrar.account.uri == uri:
                return registrar.account
        account = self.bootstrap_account
        return account if account is not None and account.uri == uri else None

    def registered(self, registrar: Registrar, now: float) -> None:
        """A server accepted the device."""
        if self._order is not None:
            assert registrar.account.short_server_id is not None
            self._order.registered(registrar.account.short_server_id, now)

    def failed(self, registrar: Registrar, now: float) -> bool:
        """All attempts at a server failed; whether the device is to bootstrap again."""
        if self._order is not None:
            assert registrar.account.short_server_id is not None
            self._order.failed(registrar.account.short_server_id, now)
        return registrar.bootstraps_on_failure and self.bootstrap_account is not None


def find_plan(tree: ObjectTree, environment: Environment) -> ServerPlan:
    """What is in /0 and /1, read once for devices that are alike there."""
    if tree.instances is not tree.template.instances:
        return read_plan(tree, environment)
    key = (tree.template, tree.own_values(_SECURITY, _SERVER))
    cache = environment.server_plans
    plan: ServerPlan | None = cache.get(key)
    if plan is None:
        plan = read_plan(tree, environment)
        # Keys are each device's own: to keep their plans would help nobody.
        if len(cache) < _PLANS_KEPT and not any(each.key for each, _, _ in plan.servers):
            cache[key] = plan
    return plan


def read_plan(tree: ObjectTree, environment: Environment) -> ServerPlan:
    """What is in /0 and /1 now."""
    accounts = read_accounts(tree.instances, tree)
    bootstrap_account = next((each for each in accounts if each.is_bootstrap), None)
    retries = (
        environment.retries if bootstrap_account is None else environment.retries_with_bootstrap
    )
    servers: list[tuple[ServerAccount, ServerRules, int]] = []
    for account in accounts:
        if account.short_server_id is not None:
            instance = ObjectPath(_SERVER, account.server_instance)
            values = {path[2]: tree[path] for path in tree.values_beneath(instance)}
            rules = read_rules(account.short_server_id, values.get, retries)
            lifetime_s = values.get(_LIFETIME)
            if type(lifetime_s) is not int:
                lifetime_s = environment.settings.lifetime_s
            servers.append((account, rules, lifetime_s))
    return ServerPlan(bootstrap_account, tuple(servers))
