"""The LwM2M half of a device: its servers, bootstrap, observations, Sends and firmware together.

What a device measures and tells its broker is `machine`'s; here is everything that goes by CoAP.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed
from contracts.load import DeviceUpdated
from fake_devices.device.actions import Action, EndExchange, Purpose, SendRequest
from fake_devices.device.bootstrapping import Bootstrapping, mark_bootstrapped
from fake_devices.device.downlink import Served, serve
from fake_devices.device.firmware import FIRMWARE_OBJECT, Firmware
from fake_devices.device.lot import Lot
from fake_devices.device.moment import Moment
from fake_devices.device.observing import Observing
from fake_devices.device.registered import Registered
from fake_devices.device.registrar import BINDING, AtRest, Registrar, RegistrationOutcome
from fake_devices.device.send import is_send_muted, readings_of, send_request
from fake_devices.device.servers import ServerAccount
from fake_devices.device.uplink import earlier
from lwm2m.bootstrap import BootstrapSource, next_source
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.objects import ObjectPath
from lwm2m.registration import DISABLE_S, Sleeper
from lwm2m.reporting import AccessContext

_SECURITY_OBJECT: Final = 0
_SERVER_OBJECT: Final = 1
_LIFETIME, _DISABLE, _DISABLE_TIMEOUT, _BINDING = 1, 4, 5, 7
_UPDATE_TRIGGER, _BOOTSTRAP_TRIGGER, _ALERT = 8, 9, 11
_FIRMWARE_STATE: Final = ObjectPath(FIRMWARE_OBJECT, 0)
SERVER_EXECUTABLES: Final = (_DISABLE, _UPDATE_TRIGGER, _BOOTSTRAP_TRIGGER)
"""What a server can execute on an instance of /1."""


class Management(Registered):
    """See the module."""

    __slots__ = (
        "_actions",
        "_bootstrapping",
        "_firmware",
        "_observing",
        "_send_at",
        "_sends",
        "_sleeper",
    )

    def __init__(
        self,
        lot: Lot,
        endpoint: str,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> None:
        super().__init__(lot, endpoint, number, accounts)
        self._actions: list[Action] | None = None
        self._bootstrapping: Bootstrapping | None = None
        self._firmware: Firmware | None = None
        self._observing: Observing | None = None
        self._send_at: float | None = None
        self._sends = 0
        settings = lot.environment.settings
        self._sleeper = Sleeper(settings.awake_s) if settings.queue_mode else None

    def take_actions(self) -> Sequence[Action]:
        """What is to be done now, in order."""
        actions = self._actions
        if actions is None:
            return ()
        self._actions = None
        return actions

    @property
    def is_off(self) -> bool:
        """Whether the device was never switched on."""
        return self._bootstrapping is None and not self._has_servers

    @property
    def is_listening(self) -> bool:
        """Whether datagrams reach the device; one in queue mode sleeps."""
        return self._sleeper is None or self._sleeper.is_awake

    def next_management_timer(self) -> float | None:
        """When to call `handle_management_timer` next."""
        held = self._held_servers
        at: float | None = None
        if held is not None:
            at = held.update_at if isinstance(held, AtRest) else held.next_timer()
        if self._bootstrapping is not None:
            at = earlier(at, self._bootstrapping.next_timer())
        if self._firmware is not None:
            at = earlier(at, self._firmware.next_timer())
        if self._observing is not None:
            at = earlier(at, self._observing.next_timer())
        if self._sleeper is not None:
            at = earlier(at, self._sleeper.next_timer())
        return at if self._send_at is None else earlier(at, self._send_at)

    def needs_values(self, now: float) -> bool:
        """Whether `handle_management_timer` will look at values now."""
        due_at = None if self._observing is None else self._observing.next_timer()
        return (due_at is not None and due_at <= now) or (
            self._send_at is not None and self._send_at <= now
        )

    # ---- switched on ----

    def switch_on(self, moment: Moment) -> None:
        """Switched on, or rebooted: register or, without a server to register with, bootstrap."""
        self._forget_observations()
        self._observing = None
        self._servers = servers = self._new_servers(moment.now, after_bootstrap=False)
        account = servers.bootstrap_account
        self._bootstrapping = (
            None if account is None else Bootstrapping(self.endpoint, self.environment, account)
        )
        if not servers.registrars:
            self._try_next_source(None, moment)
        every_s = self.environment.settings.send_every_s
        self._send_at = None if every_s is None else moment.now + every_s
        self._send_due(moment)

    def move_to(self, uri: str, moment: Moment) -> None:
        """Its LwM2M server is the one at `uri` from now on; the old one is told nothing."""
        for registrar in self._registrars:
            for instance in self.tree.instances_of(_SECURITY_OBJECT):
                path = ObjectPath(_SECURITY_OBJECT, instance.instance_id, 0)
                if self.tree.get(path) == registrar.account.uri:
                    self.tree.apply({path: uri})
        self.switch_on(moment)

    def stop(self, moment: Moment) -> None:
        """Switched off in good order: de-register everywhere."""
        for registrar in self._registrars:
            registrar.deregister()
        self._send_due(moment)

    def handle_management_timer(self, moment: Moment) -> bool:
        """Do what is due; whether the device reboots, into new firmware."""
        now, reboots = moment.now, False
        if self._bootstrapping is not None and self._bootstrapping.handle_timer(self.tree, now):
            assert self._servers is not None
            self._bootstrapping = self._servers.bootstrap_account = None
        if self._firmware is not None and self._firmware.is_due(now):
            reboots = self._firmware.handle_timer(self.tree, now, _unix_s(moment))
            self.tell_observers((_FIRMWARE_STATE,), moment)
        if self._observing is not None:
            due_at = self._observing.next_timer()
            if due_at is not None and due_at <= now:
                self.tell_observers(None, moment)
        if self._send_at is not None and self._send_at <= now:
            self._send_regularly(moment)
        if self._sleeper is not None:
            self._sleeper.handle_timer(now)
        self._send_due(moment)
        return reboots

    # ---- what servers ask ----

    def carry_out(
        self, request: Request, exchange: int, account: ServerAccount | None, moment: Moment
    ) -> Served:
        """Carry out one request; what follows from it is in `take_actions` afterwards."""
        if self._sleeper is not None:
            self._sleeper.spoke(moment.now)
        if account is None or (account.is_bootstrap and self._bootstrapping is None):
            path = "/" + "/".join(request.path)
            return Served(Response(codes.UNAUTHORIZED), "refuse", path)
        if account.is_bootstrap:
            served = self._serve_bootstrap(request, moment)
        else:
            served = self._serve_managed(request, exchange, account, moment)
            if served.touched:
                served = self._react(served, moment)
                self.tell_observers(served.touched, moment)
        self._send_due(moment)
        return served

    def _serve_bootstrap(self, request: Request, moment: Moment) -> Served:
        assert self._bootstrapping is not None
        served, is_finished = self._bootstrapping.serve(self.tree, request, moment.now)
        if is_finished:
            self._bootstrapped(moment)
        return served

    def _serve_managed(
        self, request: Request, exchange: int, account: ServerAccount, moment: Moment
    ) -> Served:
        assert account.short_server_id is not None
        server = account.short_server_id
        if self._observing is None and Observing.concerns(request):
            self._observing = Observing()
        if self._observing is not None:
            served = self._observing.serve(self.tree, request, exchange, server, moment.now)
            if served is not None:
                return served
        return serve(self.tree, request, access=AccessContext(server))

    def _react(self, served: Served, moment: Moment) -> Served:
        """Do what follows from a request that changed something; it may still be refused."""
        touched = served.touched
        if touched[0].object_id == FIRMWARE_OBJECT:
            if not self._serve_firmware(touched, moment):
                return _refused(served, codes.METHOD_NOT_ALLOWED)
        elif served.operation == "execute":
            code = self._execute(touched[0], served.arguments, moment)
            return served if code is None else _refused(served, code)
        elif served.operation in ("create", "delete"):
            # Several of them go into one Update.
            at = moment.now + self.environment.settings.object_links_delay_s
            for registrar in self._registrars:
                registrar.object_links_changed(at)
        if served.operation == "create" and touched[0].object_id != _SERVER_OBJECT:
            # All is of one object, and of /2.
            return served
        for path in touched:
            if path.object_id == _SERVER_OBJECT:
                self._server_object_changed(path)
        return served

    def _execute(
        self, path: ObjectPath, arguments: Iterable[tuple[int, str | None]], moment: Moment
    ) -> int | None:
        """Do what a server executed on its own object; the code that refuses it, or None."""
        if path.object_id != _SERVER_OBJECT:
            return None
        registrar = self._of_instance(path.instance_id)
        if path.resource_id == _BOOTSTRAP_TRIGGER:
            if self._bootstrapping is None:
                return codes.METHOD_NOT_ALLOWED
            self._bootstrap(moment, holds_off=False)
        elif path.resource_id == _DISABLE and registrar is not None:
            disable_s = self.tree.get(path._replace(resource_id=_DISABLE_TIMEOUT))
            registrar.disable(float(disable_s) if type(disable_s) is int else DISABLE_S, moment.now)
        elif path.resource_id == _UPDATE_TRIGGER and registrar is not None:
            transports = dict(arguments).get(0)
            if transports is not None and BINDING not in transports:
                # LwM2M 1.1: argument 0 says by which transport; there is but one here.
                return codes.BAD_REQUEST
            registrar.request_update(names_binding=transports is not None)
        return None

    def _server_object_changed(self, path: ObjectPath) -> None:
        registrar = self._of_instance(path.instance_id)
        if registrar is None:
            return
        if path.resource_id == _LIFETIME:
            lifetime_s = self.tree[path]
            assert isinstance(lifetime_s, int)
            registrar.lifetime_changed(lifetime_s)
        elif path.resource_id == _BINDING:
            registrar.request_update(names_binding=True)

    def _serve_firmware(self, touched: Collection[ObjectPath], moment: Moment) -> bool:
        settings = self.environment.settings.firmware
        assert settings is not None
        if self._firmware is None:
            self._firmware = Firmware(settings, self.endpoint, self.environment.record)
        accounts = [each.account for each in self._registrars]
        return self._firmware.serve(self.tree, touched, accounts, moment.now, _unix_s(moment))

    # ---- what became of requests ----

    def response_received(self, sent: SendRequest, response: Response, moment: Moment) -> None:
        """The answer to a `SendRequest`; one that nobody waits for any more changes nothing."""
        now = moment.now
        if sent.purpose is Purpose.REGISTRATION:
            registrar = self._of_server(sent.account.short_server_id)
            if registrar is not None and registrar.awaits(sent):
                outcome = registrar.response_received(response, now, self.environment.chance())
                if outcome is RegistrationOutcome.UPDATED and codes.is_success(response.code):
                    sent_ns = round(sent.at_s * 1e9)
                    updated = DeviceUpdated(
                        at_ns=moment.at_ns, endpoint=self.endpoint, sent_at_ns=sent_ns
                    )
                    self.environment.record(updated)
                self._registration_changed(registrar, outcome, response.code, moment)
                if self.rest() and self._firmware is None:
                    return  # nothing is due
        elif sent.purpose is Purpose.FIRMWARE:
            if self._firmware is not None:
                unix_s = _unix_s(moment)
                self._firmware.response_received(sent, response, self.tree, now, unix_s)
                self.tell_observers((_FIRMWARE_STATE,), moment)
        elif (
            sent.purpose is not Purpose.SEND
            and self._bootstrapping is not None
            and self._bootstrapping.response_received(sent, response, self.tree, now)
        ):
            self._bootstrapped(moment)
        self._send_due(moment)

    def exchange_failed(self, sent: SendRequest, moment: Moment, alert: int | None = None) -> None:
        """No answer to a `SendRequest`; `alert` is DTLS's when security refused it."""
        now = moment.now
        if sent.purpose is Purpose.REGISTRATION:
            registrar = self._of_server(sent.account.short_server_id)
            if registrar is not None and registrar.awaits(sent):
                self._note_alert(sent.account, alert)
                outcome = registrar.exchange_failed(now, self.environment.chance(), alert)
                self._registration_changed(registrar, outcome, None, moment)
        elif sent.purpose is Purpose.FIRMWARE:
            if self._firmware is not None:
                self._firmware.exchange_failed(sent, self.tree, now, _unix_s(moment))
                self.tell_observers((_FIRMWARE_STATE,), moment)
        elif sent.purpose is not Purpose.SEND and self._bootstrapping is not None:
            self._bootstrapping.exchange_failed(sent, self.tree, now, alert)
        self._send_due(moment)

    def observation_ended(self, exchange: int, moment: Moment) -> None:
        """A notification was reset or not acknowledged, or the observer cancelled."""
        if self._observing is not None:
            self._observing.exchange_ended(exchange)

    def _registration_changed(
        self, registrar: Registrar, outcome: RegistrationOutcome, code: int | None, moment: Moment
    ) -> None:
        if outcome is RegistrationOutcome.REGISTERED:
            self._registered(registrar, moment)
        elif outcome is RegistrationOutcome.NOT_REGISTERED:
            self.environment.record(
                DeviceRegistrationFailed(
                    at_ns=moment.at_ns,
                    endpoint=self.endpoint,
                    code="" if code is None else codes.code_text(code),
                )
            )
        if self._observing is not None:
            self._set_reachable(registrar, outcome is RegistrationOutcome.UPDATED, moment)
        bootstrapping = self._bootstrapping
        assert self._servers is not None
        if (
            registrar.gave_up
            and self._servers.failed(registrar, moment.now)
            and bootstrapping is not None
            and not bootstrapping.is_under_way
        ):
            self._try_next_source(BootstrapSource.EXISTING_SERVERS, moment)

    def _registered(self, registrar: Registrar, moment: Moment) -> None:
        self.environment.record(
            DeviceRegistered(
                at_ns=moment.at_ns, endpoint=self.endpoint, location=registrar.location_text
            )
        )
        assert self._servers is not None
        self._servers.registered(registrar, moment.now)
        if self._observing is not None:
            # LwM2M Core §6.2.1: a registration begins without observations.
            self._end_observations(registrar)
        if self._firmware is not None:
            self._firmware.registered(self.tree, _unix_s(moment))

    def _set_reachable(self, registrar: Registrar, is_updated: bool, moment: Moment) -> None:
        assert self._observing is not None
        server = registrar.account.short_server_id
        assert server is not None
        self._observing.set_reachable(server, registrar.is_registered)
        if is_updated:
            self.tell_observers((), moment)

    def _note_alert(self, account: ServerAccount, alert: int | None) -> None:
        if alert is not None and account.server_instance is not None:
            path = ObjectPath(_SERVER_OBJECT, account.server_instance, _ALERT)
            if self.tree.supports(path):
                self.tree.apply({path: alert})

    # ---- what goes out by itself ----

    def tell_observers(self, touched: Collection[ObjectPath] | None, moment: Moment) -> None:
        """Values at `touched` may be others now (None: any); what is observed is told."""
        if self._observing is None or not self._observing.observations:
            return
        unix_s = moment.unix_us / 1e6
        for notify in self._observing.evaluate(
            self.tree, moment.now, touched=touched, unix_s=unix_s
        ):
            self._do(notify, moment)

    def send_now(self, paths: Iterable[ObjectPath], moment: Moment) -> int:
        """Send the present values to every server that is registered with and has not muted Send;
        how many there are. LwM2M 1.0 has no Send: none.
        """
        tree, count = self.tree, 0
        if tree.template.lwm2m_version == "1.0":
            return 0
        wanted = list(paths)
        for registrar in self._registrars:
            server = registrar.account.short_server_id
            assert server is not None
            if not registrar.is_registered or is_send_muted(tree, server):
                continue
            readings = readings_of(tree, wanted, moment.unix_us / 1e6, AccessContext(server))
            if readings:
                request = send_request(tree, readings, self._next_send_format())
                self._do(SendRequest(request, registrar.account, Purpose.SEND), moment)
                count += 1
        return count

    def _next_send_format(self) -> int:
        formats = self.environment.settings.send_formats
        self._sends += 1
        return formats[(self._sends - 1) % len(formats)]

    def _send_regularly(self, moment: Moment) -> None:
        settings = self.environment.settings
        assert settings.send_every_s is not None
        self._send_at = moment.now + settings.send_every_s
        self.send_now((ObjectPath.parse(path) for path in settings.send_paths), moment)

    # ---- inside ----

    def _try_next_source(self, failed: BootstrapSource | None, moment: Moment) -> None:
        """After servers that do not answer, or without any (LwM2M Core §6.1.5)."""
        available = {BootstrapSource.CLIENT_INITIATED} if self._bootstrapping else set()
        if next_source(failed, available) is BootstrapSource.CLIENT_INITIATED:
            self._bootstrap(moment, holds_off=True)

    def _bootstrap(self, moment: Moment, *, holds_off: bool) -> None:
        assert self._bootstrapping is not None
        self._bootstrapping.request(moment.now, holds_off=holds_off)

    def _bootstrapped(self, moment: Moment) -> None:
        """The new configuration holds: register with its servers."""
        assert self._bootstrapping is not None
        self._forget_observations()
        mark_bootstrapped(self.tree, _unix_s(moment))
        self._servers = servers = self._new_servers(moment.now, after_bootstrap=True)
        if servers.bootstrap_account is not None:
            self._bootstrapping.account = servers.bootstrap_account

    def _forget_observations(self) -> None:
        if self._observing is not None:
            for registrar in self._registrars:
                self._end_observations(registrar)

    def _end_observations(self, registrar: Registrar) -> None:
        assert self._observing is not None
        server = registrar.account.short_server_id
        assert server is not None
        for exchange in self._observing.server_left(server):
            self.want(EndExchange(exchange))

    def _send_due(self, moment: Moment) -> None:
        servers = self._servers
        if servers is not None:
            for sent in servers.take_requests(self, moment.now):
                self._do(sent, moment)
        if self._bootstrapping is not None:
            request = self._bootstrapping.take_request()
            if request is not None:
                self._do(request, moment)
        if self._firmware is not None:
            block = self._firmware.take_request()
            if block is not None:
                self._do(block, moment)

    def want(self, action: Action) -> None:
        """Have this done, after what was wanted before."""
        if self._actions is None:
            self._actions = [action]
        else:
            self._actions.append(action)

    def _do(self, action: Action, moment: Moment) -> None:
        self.want(action)
        if self._sleeper is not None:
            self._sleeper.spoke(moment.now)


def _refused(served: Served, code: int) -> Served:
    return msgspec.structs.replace(served, response=Response(code), touched=(), value=None)


def _unix_s(moment: Moment) -> int:
    return moment.unix_us // 1_000_000
