"""Devices that were made alike: what they share until somebody asks one of them for a value.

What a device measures is a pure function of who it is and when, so a table of values that nobody
has looked at need not be kept: a fleet's idle devices have none, and make it at the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import msgspec

from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.firmware import firmware_values
from fake_devices.device.registrar import LIFETIME, object_list
from fake_devices.device.servers import (
    ServerAccount,
    ServerPlan,
    access_values,
    account_values,
    find_plan,
    read_plan,
)
from fake_devices.device.tree import ModelTemplate, ObjectTree
from fake_devices.devices import Changes, DeviceIdentity, DeviceModel
from lwm2m.objects import ObjectPath

_IP_ADDRESS: Final = ObjectPath(4, 0, 4, 0)
_SERVER_OBJECT, _ACCESS_OBJECT = 1, 2
# Stands for keys: accounts that differ in nothing else are set up alike.
_ANY_KEY: Final = b"-"


class Setting(msgspec.Struct, frozen=True, gc=False):
    """What a factory's accounts come to: servers to register with, the encoded object list, and the
    object instances that a device is born with."""

    plan: ServerPlan
    object_list: bytes
    instances: tuple[ObjectPath, ...]


_NO_SETTING: Final = Setting(ServerPlan(None, ()), b"", ())


class Lot:
    """Devices of one model that are made together, for one city time.

    `identity_of`, with the endpoint name, `phase_of` and `address_of` tell of the device with a
    number: who it is, its own place, in [0, 1), in the report interval, and its IP address as it
    knows it (/4/0/4); `incidents` are by endpoint name.
    """

    __slots__ = (
        "_latest",
        "_latest_accounts",
        "_settings",
        "address_of",
        "city_s",
        "environment",
        "identity_of",
        "incidents",
        "model",
        "own_keys",
        "phase_of",
        "template",
    )

    def __init__(
        self,
        environment: Environment,
        template: ModelTemplate,
        model: DeviceModel,
        city_s: float,
        identity_of: Callable[[str, int], DeviceIdentity],
        phase_of: Callable[[int], float],
        address_of: Callable[[int], str],
        incidents: Mapping[str, tuple[IncidentPlan, ...]] = MappingProxyType({}),
        own_keys: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        # By endpoint, of those that have their MQTT key to themselves: PKCS #8, DER.
        self.own_keys = own_keys
        self.incidents = incidents
        self.environment = environment
        self.template = template
        self.model = model
        self.city_s = city_s
        self.identity_of = identity_of
        self.phase_of = phase_of
        self.address_of = address_of
        # By what accounts have but for keys.
        self._settings: dict[tuple[object, ...], Setting] = {}
        # Most lots have one set of accounts for all, and a device with keys of its own asks twice
        # and three times: found again without a look at its fields.
        self._latest_accounts: tuple[ServerAccount, ...] | None = None
        self._latest = _NO_SETTING

    def new_tree(
        self, endpoint: str, number: int, accounts: tuple[ServerAccount, ...]
    ) -> ObjectTree:
        """The objects of a device that was switched on.

        Once it is known which a device with such accounts has, its values are made when they are
        asked for: what it measures is a pure function of who it is and when, however late.
        """
        known = self._known_setting(accounts)
        if known is None:
            return new_tree(self.template, self._born_values(endpoint, number, accounts))
        draw = partial(self._born_values, endpoint, number, accounts)
        return ObjectTree.unseen(self.template, known.instances, draw)

    def _known_setting(self, accounts: tuple[ServerAccount, ...]) -> Setting | None:
        """The setting of such accounts, with keys or without."""
        if accounts is self._latest_accounts:
            return self._latest
        return self._settings.get(_kinds(accounts))

    def _born_values(
        self, endpoint: str, number: int, accounts: Sequence[ServerAccount]
    ) -> Changes:
        settings = self.environment.settings
        initial = self.model.initial(self.identity_of(endpoint, number), self.city_s)
        initial[LIFETIME] = settings.lifetime_s
        initial[_IP_ADDRESS] = self.address_of(number)
        if settings.firmware is not None:
            initial |= firmware_values(settings.firmware)
        return born_values(self.template, initial, accounts)

    def setting(self, endpoint: str, number: int, accounts: tuple[ServerAccount, ...]) -> Setting:
        """What a factory's accounts come to in a device that nobody has changed.

        It is read once from a device of the lot, for all whose accounts differ in keys alone.
        """
        if accounts is self._latest_accounts:
            return self._latest
        kinds = _kinds(accounts)
        found = self._settings.get(kinds)
        if found is None:
            shape = tuple([_without_keys(each) for each in accounts])
            found = self._settings[kinds] = self._read_setting(endpoint, number, shape)
        if any(each.identity or each.key or each.server_key for each in accounts):
            plan = _with_keys(found.plan, accounts)
            found = Setting(plan, found.object_list, found.instances)
        self._latest_accounts, self._latest = accounts, found
        return found

    def _read_setting(
        self, endpoint: str, number: int, accounts: tuple[ServerAccount, ...]
    ) -> Setting:
        tree = new_tree(self.template, self._born_values(endpoint, number, accounts))
        return Setting(read_plan(tree, self.environment), object_list(tree), tree.instances)


def _with_keys(plan: ServerPlan, accounts: Sequence[ServerAccount]) -> ServerPlan:
    """The plan with the keys that the accounts have; instances of /0 are in their order."""

    def whole(account: ServerAccount) -> ServerAccount:
        given = accounts[account.security_instance]
        return msgspec.structs.replace(
            account, identity=given.identity, key=given.key, server_key=given.server_key
        )

    bootstrap = plan.bootstrap_account
    return ServerPlan(
        None if bootstrap is None else whole(bootstrap),
        tuple([(whole(account), rules, life_s) for account, rules, life_s in plan.servers]),
    )


def _kinds(accounts: Sequence[ServerAccount]) -> tuple[object, ...]:
    """What accounts say when only which keys there are counts; equal where `_without_keys` is."""
    return tuple(
        [
            (
                each.short_server_id, each.uri, each.security_mode, each.hold_off_s,
                each.account_timeout_s, each.sni,
                not each.identity, not each.key, not each.server_key,
            )
            for each in accounts
        ]
    )  # fmt: skip


def _without_keys(account: ServerAccount) -> ServerAccount:
    """The account as all of its kind have it; where its instances are is found out anew."""
    return msgspec.structs.replace(
        account,
        identity=_ANY_KEY if account.identity else b"",
        key=_ANY_KEY if account.key else b"",
        server_key=_ANY_KEY if account.server_key else b"",
        security_instance=0,
        server_instance=None,
    )


def born_tree(
    template: ModelTemplate, initial: Changes, accounts: Sequence[ServerAccount]
) -> ObjectTree:
    """The tree of a new device: its model's values, and what its factory wrote into /0 to /2.

    `initial` is taken over.
    """
    return new_tree(template, born_values(template, initial, accounts))


def born_values(
    template: ModelTemplate, initial: Changes, accounts: Sequence[ServerAccount]
) -> Changes:
    """The values of a new device likewise."""
    own = [each for each in template.instances if each.object_id > _ACCESS_OBJECT]
    server_values = {path: each for path, each in initial.items() if path[0] == _SERVER_OBJECT}
    factory = account_values(accounts, server_values)
    factory |= access_values(own, accounts, template.creatable)
    for path in server_values:
        del initial[path]
    initial |= factory
    return initial


def new_tree(template: ModelTemplate, born: Changes) -> ObjectTree:
    """A tree with these values; its instances of /0 to /2 are the ones that have any."""
    tree = ObjectTree(template, born)
    found = {each for each in template.instances if each.object_id > _ACCESS_OBJECT}
    found.update([path.instance for path in born if path.object_id <= _ACCESS_OBJECT])
    if found != set(tree.instances):
        tree.instances = tuple(sorted(found))
    return tree


class Made:
    """One device of a lot: who it is, and its objects as soon as somebody looks at them."""

    __slots__ = ("_accounts", "_lot", "_number", "_tree", "endpoint")

    def __init__(
        self,
        lot: Lot,
        endpoint: str,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> None:
        self._lot = lot
        self._number = number
        self._accounts = accounts
        self._tree: ObjectTree | None = None
        self.endpoint = endpoint

    @property
    def identity(self) -> DeviceIdentity:
        """Who and where the device is."""
        return self._lot.identity_of(self.endpoint, self._number)

    @property
    def environment(self) -> Environment:
        """What the device shares with others."""
        return self._lot.environment

    @property
    def model(self) -> DeviceModel:
        """What kind of device it is."""
        return self._lot.model

    @property
    def tree(self) -> ObjectTree:
        """The device's object instances and values."""
        tree = self._tree
        if tree is None:
            tree = self._tree = self._lot.new_tree(self.endpoint, self._number, self._accounts)
        return tree

    def object_list(self) -> bytes:
        """The encoded object list of a Register."""
        if self._tree is None:
            return self.born_setting().object_list
        return object_list(self._tree)

    def server_plan(self) -> ServerPlan:
        """The servers that objects 0 and 1 name."""
        if self._tree is None:
            return self.born_setting().plan
        return find_plan(self._tree, self.environment)

    def born_setting(self) -> Setting:
        """What its factory's accounts come to, whatever servers have written since."""
        return self._lot.setting(self.endpoint, self._number, self._accounts)
