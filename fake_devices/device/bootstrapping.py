"""A device's bootstrap: asks its bootstrap server, takes what it writes, and judges the result.

The states are `lwm2m.bootstrap`'s. A bootstrap that fails leaves everything as it was before: the
standard is silent on it, and a device without accounts would be lost.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fake_devices.device.actions import Purpose, SendRequest
from fake_devices.device.discover import companions_of
from fake_devices.device.downlink import Served, serve
from fake_devices.device.environment import Environment
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.bootstrap import (
    REQUEST_PATH,
    BootstrapAction,
    BootstrapClient,
    BootstrapPolicy,
    BootstrapState,
    ServerAccount,
    bootstrap_request,
    effect_of_pack,
    find_inconsistency,
    pack_request,
)
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats, decode_payload
from lwm2m.errors import IllegalPath, LwM2mError
from lwm2m.objects import ObjectPath, check_path, check_value, resource_model

_SECURITY_OBJECT, _SERVER_OBJECT = 0, 1
_LAST_BOOTSTRAPPED = 12
_AT_REST: Final = (BootstrapState.IDLE, BootstrapState.DONE, BootstrapState.FAILED)


class _Kept(NamedTuple):
    instances: tuple[ObjectPath, ...]
    values: Changes


class Bootstrapping:
    """The bootstrap of one device that has a bootstrap account.

    Methods that return a flag tell whether the device has a new configuration to register with.
    """

    __slots__ = ("_action", "_client", "_endpoint", "_environment", "_kept", "_sent", "account")

    def __init__(self, endpoint: str, environment: Environment, account: ServerAccount) -> None:
        settings = environment.settings
        self._endpoint = endpoint
        self._environment = environment
        self.account = account
        self._client = BootstrapClient(
            BootstrapPolicy(
                float(account.hold_off_s),
                float(account.account_timeout_s),
                settings.bootstrap_finish_s,
                settings.bootstrap_pack and settings.lwm2m_version == "1.2",
                environment.retries,
            )
        )
        self._action: BootstrapAction | None = None
        self._kept: _Kept | None = None
        self._sent: SendRequest | None = None

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        return self._client.next_timer()

    @property
    def is_under_way(self) -> bool:
        """Whether the device waits for its bootstrap server, or to ask it again."""
        return self._client.state not in _AT_REST

    def request(self, now: float, *, holds_off: bool = True) -> None:
        """Begin; a server's trigger does not hold off."""
        self._action = self._client.request(now, holds_off=holds_off)

    def take_request(self) -> SendRequest | None:
        """The request that is due, if any."""
        action, self._action = self._action, None
        if action is BootstrapAction.SEND_REQUEST:
            settings = self._environment.settings
            # LwM2M 1.0 knows no `pct`.
            preferred = None if settings.lwm2m_version == "1.0" else settings.bootstrap_format
            request = bootstrap_request(self._endpoint, preferred)
            self._sent = SendRequest(request, self.account, Purpose.BOOTSTRAP)
            return self._sent
        if action is BootstrapAction.SEND_PACK_REQUEST:
            wanted = self._environment.settings.bootstrap_format or content_formats.SENML_CBOR
            request = pack_request(self._endpoint, wanted)
            self._sent = SendRequest(request, self.account, Purpose.BOOTSTRAP_PACK)
            return self._sent
        return None

    def handle_timer(self, tree: ObjectTree, now: float) -> bool:
        """Do what is due; whether the bootstrap account was purged."""
        action = self._client.handle_timer(now, self._environment.chance())
        if action is BootstrapAction.PURGE_ACCOUNT:
            security = ObjectPath(_SECURITY_OBJECT, self.account.security_instance)
            for instance in (*companions_of(tree, security), security):
                tree.delete_instance(instance)
            return True
        self._do(tree, action)
        return False

    # ---- what the bootstrap server does ----

    def serve(self, tree: ObjectTree, request: Request, now: float) -> tuple[Served, bool]:
        """Carry out one request of the bootstrap server, and whether it was a good Finish."""
        if request.code == codes.POST and request.path == REQUEST_PATH:
            return self._finish(tree, now)
        self._do(tree, self._client.server_acted(now))
        return serve(tree, request, phase="bootstrap"), False

    def response_received(
        self, sent: SendRequest, response: Response, tree: ObjectTree, now: float
    ) -> bool:
        """The bootstrap server answered; whether it was with a pack that was taken over."""
        if sent is not self._sent:
            return False
        self._sent = None
        if sent.purpose is Purpose.BOOTSTRAP_PACK:
            is_taken = self._take_pack(tree, response)
            self._do(tree, self._client.pack_received(now, is_taken=is_taken))
            return is_taken
        chance = self._environment.chance()
        self._do(tree, self._client.response_received(response.code, now, chance))
        return False

    def exchange_failed(
        self, sent: SendRequest, tree: ObjectTree, now: float, alert: int | None = None
    ) -> None:
        """The bootstrap server did not answer, or security refused it by an alert."""
        if sent is not self._sent:
            return
        self._sent = None
        chance = self._environment.chance()
        self._do(
            tree,
            self._client.exchange_failed(now, chance)
            if alert is None
            else self._client.alert_received(alert, now, chance),
        )

    # ---- inside ----

    def _finish(self, tree: ObjectTree, now: float) -> tuple[Served, bool]:
        problem = find_inconsistency(tree.instances, tree)
        action = self._client.finish(now, is_consistent=problem is None)
        self._do(tree, action)
        code = codes.CHANGED if problem is None else codes.NOT_ACCEPTABLE
        served = Served(Response(code), "bootstrap_finish", "/bs")
        return served, action is BootstrapAction.REGISTER

    def _do(self, tree: ObjectTree, action: BootstrapAction | None) -> None:
        if action is BootstrapAction.REMEMBER:
            self._kept = self._kept or _Kept(tree.instances, dict(tree))
        elif action is BootstrapAction.ROLL_BACK:
            self._roll_back(tree)
        elif action is BootstrapAction.REGISTER:
            self._kept = None
        else:
            self._action = action

    def _roll_back(self, tree: ObjectTree) -> None:
        kept, self._kept = self._kept, None
        if kept is None:
            return
        for instance in set(tree.instances) - set(kept.instances):
            tree.delete_instance(instance)
        for instance in set(kept.instances) - set(tree.instances):
            tree.create_instance(instance, {})
        tree.remove([path for path in tree if path not in kept.values])
        tree.apply(kept.values)

    def _take_pack(self, tree: ObjectTree, response: Response) -> bool:
        """Take a pack over, wholly or not at all."""
        if response.code != codes.CONTENT or response.content_format is None:
            return False
        models = tree.template.models
        security = ObjectPath(_SECURITY_OBJECT, self.account.security_instance)
        try:
            nodes = decode_payload(response.content_format, None, response.payload, models)
            for path, value in nodes:
                check_path(models, path)
                model = resource_model(models, path)
                if model is not None:
                    check_value(model, value)
            effect = effect_of_pack(
                nodes, tree.instances, (security, *companions_of(tree, security))
            )
        except LwM2mError:
            return False
        self._kept = _Kept(tree.instances, dict(tree))
        for instance in effect.removed:
            tree.delete_instance(instance)
        for instance in effect.instances:
            if instance not in tree.instances:
                tree.create_instance(instance, {})
        tree.apply(effect.values)
        if find_inconsistency(tree.instances, tree) is not None:
            self._roll_back(tree)
            return False
        return True


def mark_bootstrapped(tree: ObjectTree, unix_s: int) -> None:
    """Note the time in every Server object instance that has a place for it (/1/x/12)."""
    try:
        check_path(tree.template.models, ObjectPath(_SERVER_OBJECT, 0, _LAST_BOOTSTRAPPED))
    except IllegalPath:
        return
    tree.apply(
        {each.child(_LAST_BOOTSTRAPPED): unix_s for each in tree.instances_of(_SERVER_OBJECT)}
    )
