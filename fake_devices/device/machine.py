"""One simulated device without I/O: registration, downlink, MQTT account and telemetry together.

Feed it what happened with the moment at which it did, take the actions, wake it at `next_timer`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from contracts.journal import (
    CredentialsActivated,
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    DeviceStarted,
    DownlinkServed,
)
from fake_devices.device.account import (
    BROKER_OBJECT,
    PUBLICATION_OBJECT,
    BrokerAccount,
    read_uplink,
)
from fake_devices.device.actions import (
    Action,
    CloseUplink,
    OpenUplink,
    PublishPack,
    SendRequest,
)
from fake_devices.device.downlink import Served
from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.firmware import firmware_values
from fake_devices.device.management import Management
from fake_devices.device.moment import Moment
from fake_devices.device.registrar import LIFETIME
from fake_devices.device.reporting import Reporter
from fake_devices.device.servers import (
    DEFAULT_ACCOUNT,
    ServerAccount,
    access_values,
    account_values,
)
from fake_devices.device.tree import ModelTemplate, ObjectTree
from fake_devices.device.uplink import TRANSITIONS, UplinkEvent, UplinkState, pause_s
from fake_devices.devices import Changes, DeviceIdentity, DeviceModel
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.objects import ObjectPath

REBOOT = ObjectPath(3, 0, 4)
_CURRENT_TIME = ObjectPath(3, 0, 13)
_IP_ADDRESS = ObjectPath(4, 0, 4, 0)
_SERVER_OBJECT, _ACCESS_OBJECT = 1, 2
_UPLINK_OBJECTS = frozenset({BROKER_OBJECT, PUBLICATION_OBJECT})


class Device:
    """See the module. `address` is the device's IP address as it knows it (/4/0/4)."""

    __slots__ = (
        "_account",
        "_attempt",
        "_drain_at",
        "_environment",
        "_is_generating",
        "_management",
        "_pause_at",
        "_reporter",
        "_settle_at",
        "identity",
        "model",
        "tree",
        "uplink_state",
    )

    def __init__(
        self,
        environment: Environment,
        template: ModelTemplate,
        identity: DeviceIdentity,
        model: DeviceModel,
        *,
        city_s: float,
        phase: float,
        address: str = "127.0.0.1",
        incidents: tuple[IncidentPlan, ...] = (),
        accounts: Sequence[ServerAccount] = (DEFAULT_ACCOUNT,),
    ) -> None:
        """`accounts` is what the factory wrote into /0 and /1."""
        self._environment = environment
        self.identity = identity
        self.model = model
        initial = model.initial(identity, city_s)
        initial[LIFETIME] = environment.settings.lifetime_s
        initial[_IP_ADDRESS] = address
        if environment.settings.firmware is not None:
            initial |= firmware_values(environment.settings.firmware)
        self.tree = born_tree(template, initial, accounts)
        self._management = Management(identity.endpoint, environment, self.tree)
        self._reporter = Reporter(
            environment, identity, model, model.new_memory(identity, city_s), phase, incidents
        )
        self.uplink_state = UplinkState.UNCONFIGURED
        self._account: BrokerAccount | None = None
        self._attempt = 0
        self._pause_at: float | None = None
        self._drain_at: float | None = None
        self._settle_at: float | None = None
        self._is_generating = True

    # ---- what the fleet asks ----

    def take_actions(self) -> list[Action]:
        """What is to be done now, in order."""
        management = self._management
        actions, management.actions = management.actions, []
        return actions

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, monotonic seconds."""
        at = self._management.next_timer()
        if self._is_generating:
            at = _earlier(at, self._reporter.next_sample_at)
        return _earlier(_earlier(at, self._pause_at), _earlier(self._drain_at, self._settle_at))

    @property
    def is_registered(self) -> bool:
        """Whether the server has confirmed a registration that still stands."""
        return self._management.is_registered

    @property
    def is_listening(self) -> bool:
        """Whether datagrams reach the device; one in queue mode sleeps (LwM2M Core §6.5)."""
        return self._management.is_listening

    def account_at(self, uri: str) -> ServerAccount | None:
        """The account of the server with this URI, or None."""
        return self._management.account_at(uri)

    @property
    def unacknowledged(self) -> int:
        """Packs that were made and that no broker has taken over."""
        return self._reporter.unacknowledged

    # ---- switched on and off ----

    def start(self, intended_at_ns: int, moment: Moment) -> None:
        """The device was switched on: it registers, or bootstraps."""
        self._environment.record(
            DeviceStarted(
                at_ns=moment.at_ns,
                endpoint=self.identity.endpoint,
                model=self.model.name,
                intended_at_ns=intended_at_ns,
            )
        )
        self._management.start(moment)

    def stop(self, moment: Moment) -> None:
        """The device is switched off in good order: it de-registers."""
        self._management.stop(moment)

    def stop_generating(self) -> None:
        """Measure nothing more; what is under way still goes out."""
        self._is_generating = False

    def end(self, moment: Moment) -> None:
        """The run is over: record the state that the device is in."""
        self._environment.record(
            DeviceEnded(
                at_ns=moment.at_ns,
                endpoint=self.identity.endpoint,
                model=self.model.name,
                state=self._state_name(),
            )
        )

    def handle_timer(self, moment: Moment) -> None:
        """Do what is due."""
        now = moment.now
        if self._management.needs_values(now):
            self._bring_up_to_date(moment)
        if self._management.handle_timer(moment):
            self._reboot(moment)
        sample_at = self._reporter.next_sample_at
        if self._is_generating and sample_at is not None and sample_at <= now:
            self._reporter.sample(self.tree, moment)
            self._management.values_changed(None, moment)
            if self._drain_at is None:
                self._publish_waiting(moment)
        if self._settle_at is not None and self._settle_at <= now:
            self._refresh_uplink(moment, at_once=True)
        if self._pause_at is not None and self._pause_at <= now:
            self._pause_at = None
            self._move_uplink(UplinkEvent.PAUSE_ELAPSED, renews_session=False)
        if self._drain_at is not None and self._drain_at <= now:
            self._drain_one(moment)

    # ---- the LwM2M server ----

    def serve(
        self,
        request: Request,
        exchange: int,
        message_id: int,
        account: ServerAccount | None,
        moment: Moment,
    ) -> Response:
        """Carry out one request of the server of `account`; its response goes out before any
        action. None is nobody that the device knows: it is refused.
        """
        if request.code in (codes.GET, codes.FETCH):
            self._bring_up_to_date(moment)
        served = self._management.serve(request, exchange, account, moment)
        self._environment.record(
            DownlinkServed(
                at_ns=moment.at_ns,
                endpoint=self.identity.endpoint,
                operation=served.operation,
                path=served.path,
                message_id=message_id,
                code=codes.code_text(served.response.code),
                value=served.value,
            )
        )
        if served.touched:
            self._react(served, moment)
            if self._environment.served is not None:
                self._environment.served(served, self.tree)
        return served.response

    def response_received(self, sent: SendRequest, response: Response, moment: Moment) -> None:
        """A server answered the request of `sent`."""
        self._management.response_received(sent, response, moment)

    def exchange_failed(self, sent: SendRequest, moment: Moment, alert: int | None = None) -> None:
        """No server answered the request of `sent`; `alert` is the number of DTLS's alert when
        security was refused."""
        self._management.exchange_failed(sent, moment, alert)

    def observation_ended(self, exchange: int, moment: Moment) -> None:
        """The observer of `exchange` cancelled, reset, or did not acknowledge."""
        self._management.observation_ended(exchange)

    def send_now(self, paths: Iterable[ObjectPath], moment: Moment) -> int:
        """Send the values at `paths` to all servers that take Sends; how many there are."""
        self._bring_up_to_date(moment)
        return self._management.send_now(paths, moment)

    def values_changed(self, changes: Changes, moment: Moment) -> None:
        """Something outside changed these values: they are set, and observers are told."""
        self.tree.apply(changes)
        self._management.values_changed(tuple(changes), moment)

    # ---- the MQTT connection ----

    def uplink_connected(self, moment: Moment) -> None:
        """CONNACK 0 arrived; the session has repeated what was in flight."""
        assert self._account is not None
        self._move_uplink(UplinkEvent.CONNECTION_ESTABLISHED, renews_session=False)
        self._environment.record(
            DeviceConnected(
                at_ns=moment.at_ns,
                endpoint=self.identity.endpoint,
                client_id=self._account.client_id,
                attempt=self._attempt,
            )
        )
        self._attempt = 0
        self._reporter.repeat_in_flight(moment)
        has_backlog = self._reporter.waiting > 0
        if self._is_generating:
            self._reporter.begin(self.tree, moment)
        if has_backlog:
            self._drain_at = moment.now
            self._drain_one(moment)
        else:
            self._publish_waiting(moment)

    def uplink_lost(self, reason: str, moment: Moment) -> None:
        """The connection ended or could not be made."""
        self._move_uplink(UplinkEvent.CONNECTION_LOST, renews_session=False)
        self._record_disconnected(reason, moment)
        settings = self._environment.settings
        self._drain_at = None
        self._pause_at = moment.now + pause_s(
            max(1, self._attempt),
            settings.reconnect_s,
            settings.reconnect_s_max,
            settings.reconnect_jitter_ratio,
            self._environment.chance(),
        )

    def pack_acknowledged(self, boot: str, sequence: int, moment: Moment) -> bool:
        """A PUBACK arrived; whether it was for a pack in flight."""
        is_news = self._reporter.acknowledge(boot, sequence, moment)
        if self._drain_at is None:
            self._publish_waiting(moment)
        return is_news

    # ---- inside ----

    def _bring_up_to_date(self, moment: Moment) -> None:
        # While it reports, values are at most an interval old; before, nobody else measures.
        if self._reporter.next_sample_at is None:
            self._reporter.measure(self.tree, moment.unix_us)
        city_s = moment.unix_us / 1e6 + self._environment.settings.city_offset_s
        self.tree.apply({_CURRENT_TIME: int(city_s)})

    def _react(self, served: Served, moment: Moment) -> None:
        touched = served.touched
        if served.operation == "execute":
            if touched[0] == REBOOT:
                self._reboot(moment)
            return
        if any(path.object_id in _UPLINK_OBJECTS for path in touched):
            self._refresh_uplink(moment, at_once=served.operation == "delete")
        elif served.operation in ("write", "write_composite"):
            # A command takes effect when it comes, not when the next report is due.
            self._reporter.measure(self.tree, moment.unix_us)
            self._management.values_changed(None, moment)

    def _reboot(self, moment: Moment) -> None:
        if self._account is not None:
            self._drop_account("rebooted", moment)
        self._reporter.reboot()
        self._management.start(moment)
        self._refresh_uplink(moment, at_once=True)

    def _refresh_uplink(self, moment: Moment, *, at_once: bool = False) -> None:
        account, streams, is_whole = read_uplink(self.tree, self._environment.settings.topics)
        self._reporter.set_streams(streams, moment.now)
        if account == self._account:
            self._settle_at = None
        elif is_whole or at_once:
            self._settle_at = None
            self._change_account(account, moment)
        elif self._settle_at is None:
            # A server that is setting the account up writes one publication after the other.
            self._settle_at = moment.now + self._environment.settings.settle_s

    def _change_account(self, account: BrokerAccount | None, moment: Moment) -> None:
        if account is None:
            self._drop_account("credentials revoked", moment)
            return
        renews_session = self._account is None or account.session != self._account.session
        if self.uplink_state is UplinkState.CONNECTED:
            self._record_disconnected("credentials renewed", moment)
        self._account = account
        self._attempt = 0
        self._environment.record(
            CredentialsActivated(
                at_ns=moment.at_ns,
                endpoint=self.identity.endpoint,
                client_id=account.client_id,
                certificate_sha256=hashlib.sha256(account.certificate).hexdigest(),
            )
        )
        if renews_session:
            self._reporter.lose_session()
        self._move_uplink(UplinkEvent.ACCOUNT_ACTIVATED, renews_session=renews_session)

    def _drop_account(self, reason: str, moment: Moment) -> None:
        if self.uplink_state is UplinkState.CONNECTED:
            self._record_disconnected(reason, moment)
        self._account = None
        self._reporter.lose_session()
        self._move_uplink(UplinkEvent.ACCOUNT_REVOKED, renews_session=True)

    def _move_uplink(self, event: UplinkEvent, *, renews_session: bool) -> None:
        step = TRANSITIONS[self.uplink_state][event]
        self.uplink_state = step.state
        if step.state is not UplinkState.BACKING_OFF:
            self._pause_at = None
        if step.state is not UplinkState.CONNECTED:
            self._drain_at = None
        if step.closes:
            self._management.actions.append(CloseUplink())
        if step.opens and self._environment.settings.connects:
            assert self._account is not None
            self._attempt += 1
            self._management.actions.append(OpenUplink(self._account, renews_session))

    def _publish_waiting(self, moment: Moment) -> None:
        if self.uplink_state is UplinkState.CONNECTED:
            while (pack := self._reporter.next_pack(moment)) is not None:
                self._management.actions.append(PublishPack(pack))

    def _drain_one(self, moment: Moment) -> None:
        pack = self._reporter.next_pack(moment)
        if pack is not None:
            self._management.actions.append(PublishPack(pack))
        pause = 1.0 / self._environment.settings.drain_per_s
        self._drain_at = moment.now + pause if self._reporter.waiting else None

    def _record_disconnected(self, reason: str, moment: Moment) -> None:
        self._environment.record(
            DeviceDisconnected(at_ns=moment.at_ns, endpoint=self.identity.endpoint, reason=reason)
        )

    def _state_name(self) -> str:
        if self.uplink_state is UplinkState.CONNECTED:
            return "connected"
        if self._management.is_off:
            return "off"
        return "registered" if self.is_registered else "unregistered"


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return one if one < other else other


def born_tree(
    template: ModelTemplate, initial: Changes, accounts: Sequence[ServerAccount]
) -> ObjectTree:
    """The tree of a new device: its model's values, and what its factory wrote into /0 to /2.

    `initial` is taken over.
    """
    own = [each for each in template.instances if each.object_id > _ACCESS_OBJECT]
    server_values = {path: each for path, each in initial.items() if path[0] == _SERVER_OBJECT}
    factory = account_values(accounts, server_values)
    factory |= access_values(own, accounts, template.creatable)
    for path in server_values:
        del initial[path]
    initial |= factory
    tree = ObjectTree(template, initial)
    found = {*own, *(path.instance for path in factory)}
    if found != set(tree.instances):
        tree.instances = tuple(sorted(found))
    return tree
