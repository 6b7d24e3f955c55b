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
from contracts.load import DevicePowerLost, DevicePowerRestored
from fake_devices.device.account import (
    BROKER_OBJECT,
    PUBLICATION_OBJECT,
    BrokerAccount,
    read_uplink,
)
from fake_devices.device.actions import CloseUplink, OpenUplink, PublishPack
from fake_devices.device.downlink import Served
from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.lot import Lot
from fake_devices.device.management import Management
from fake_devices.device.moment import Moment
from fake_devices.device.reporting import Reporter
from fake_devices.device.servers import DEFAULT_ACCOUNT, ServerAccount
from fake_devices.device.tree import ModelTemplate
from fake_devices.device.uplink import (
    TRANSITIONS,
    UplinkEvent,
    UplinkLife,
    UplinkState,
    earlier,
    pause_s,
)
from fake_devices.devices import Changes, DeviceIdentity, DeviceModel
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.objects import ObjectPath
from lwm2m.registration import Sleeper

REBOOT = ObjectPath(3, 0, 4)
_CURRENT_TIME = ObjectPath(3, 0, 13)
_UPLINK_OBJECTS = frozenset({BROKER_OBJECT, PUBLICATION_OBJECT})


class Device(Management):
    """See the module."""

    __slots__ = ("_is_generating", "_reporter", "_uplink")

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
        own_key: bytes = b"",
    ) -> None:
        """A device by itself: `address` is its IP address as it knows it (/4/0/4), `phase` in
        [0, 1) its place in the report interval, `accounts` what the factory wrote into /0 and /1,
        `own_key` the private key (PKCS #8, DER) that it keeps to itself for MQTT.
        """
        lot = Lot(
            environment,
            template,
            model,
            city_s,
            lambda endpoint, number: identity,
            lambda number: phase,
            lambda number: address,
            {identity.endpoint: incidents},
            {identity.endpoint: own_key},
        )
        self._make(lot, identity.endpoint, 0, tuple(accounts))

    @classmethod
    def of_lot(
        cls,
        lot: Lot,
        endpoint: str,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> Device:
        """The device with this name and number of a lot."""
        device = cls.__new__(cls)
        device._make(lot, endpoint, number, accounts)
        return device

    def _make(
        self,
        lot: Lot,
        endpoint: str,
        number: int,
        accounts: tuple[ServerAccount, ...],
    ) -> None:
        Management.__init__(self, lot, endpoint, number, accounts)
        # Both are made when a device first measures, or has an account: most of a fleet that only
        # registers do neither.
        self._reporter: Reporter | None = None
        self._uplink: UplinkLife | None = None
        self._is_generating = True

    # ---- what the fleet asks ----

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, monotonic seconds."""
        at, reporter, uplink = self.next_management_timer(), self._reporter, self._uplink
        if reporter is not None and reporter.next_sample_at is not None and self._is_generating:
            at = earlier(at, reporter.next_sample_at)
        return at if uplink is None else earlier(at, uplink.next_timer())

    @property
    def uplink_state(self) -> UplinkState:
        """Where the MQTT connection is."""
        return UplinkState.UNCONFIGURED if self._uplink is None else self._uplink.state

    @property
    def unacknowledged(self) -> int:
        """Packs that were made and that no broker has taken over."""
        return 0 if self._reporter is None else self._reporter.unacknowledged

    # ---- switched on and off ----

    def start(self, intended_at_ns: int, moment: Moment) -> None:
        """The device was switched on: it registers, or bootstraps."""
        self.environment.record(
            DeviceStarted(
                at_ns=moment.at_ns,
                endpoint=self.endpoint,
                model=self.model.name,
                intended_at_ns=intended_at_ns,
            )
        )
        self.switch_on(moment)

    def stop_generating(self) -> None:
        """Measure nothing more; what is under way still goes out."""
        self._is_generating = False

    def end(self, moment: Moment) -> None:
        """The run is over: record the state that the device is in."""
        self.environment.record(
            DeviceEnded(
                at_ns=moment.at_ns,
                endpoint=self.endpoint,
                model=self.model.name,
                state=self._state_name(),
            )
        )

    def handle_timer(self, moment: Moment) -> None:
        """Do what is due."""
        now = moment.now
        if self.needs_values(now):
            self._bring_up_to_date(moment)
        if self.handle_management_timer(moment):
            self._reboot(moment)
        reporter, uplink = self._reporter, self._uplink
        if reporter is None or uplink is None:
            return
        sample_at = reporter.next_sample_at
        if self._is_generating and sample_at is not None and sample_at <= now:
            self._report(reporter, uplink, round(sample_at * 1e9), moment)
        if uplink.settle_at is not None and uplink.settle_at <= now:
            self._refresh_uplink(moment, at_once=True)
        if uplink.pause_at is not None and uplink.pause_at <= now:
            uplink.pause_at = None
            self._move_uplink(uplink, UplinkEvent.PAUSE_ELAPSED, moment, renews_session=False)
        if uplink.drain_at is not None and uplink.drain_at <= now:
            self._drain_one(uplink, moment)

    def _forget_servers(self) -> None:
        """Power is gone: registrations, observations and what is under way are forgotten."""
        self._servers = self._bootstrapping = self._firmware = self._observing = None
        self._send_at = self._actions = None
        if self._sleeper is not None:
            self._sleeper = Sleeper(self.environment.settings.awake_s)

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
        served = self.carry_out(request, exchange, account, moment)
        self.environment.record(
            DownlinkServed(
                at_ns=moment.at_ns,
                endpoint=self.endpoint,
                operation=served.operation,
                path=served.path,
                message_id=message_id,
                code=codes.code_text(served.response.code),
                value=served.value,
            )
        )
        if served.touched:
            self._follow_up(served, moment)
            if self.environment.served is not None:
                self.environment.served(served, self.tree)
        return served.response

    def send_now(self, paths: Iterable[ObjectPath], moment: Moment) -> int:
        """Send the values at `paths` to all servers that take Sends; how many there are."""
        self._bring_up_to_date(moment)
        return super().send_now(paths, moment)

    def values_changed(self, changes: Changes, moment: Moment) -> None:
        """Something outside changed these values: they are set, and observers are told."""
        self.tree.apply(changes)
        self.tell_observers(tuple(changes), moment)

    # ---- what a profile or a schedule makes it do ----

    @property
    def accounts(self) -> list[ServerAccount]:
        """Those of all servers that it talks to now."""
        found = [registrar.account for registrar in self._registrars]
        return found if self._bootstrapping is None else [*found, self._bootstrapping.account]

    def report(self, intended_at_ns: int, moment: Moment) -> bool:
        """Measure and report now, as was intended then; whether it could.

        Without a connection the pack waits; a device that never had one does nothing.
        """
        reporter, uplink = self._reporter, self._uplink
        if reporter is None or uplink is None or not (reporter.can_report and self._is_generating):
            return False
        self._report(reporter, uplink, intended_at_ns, moment)
        return True

    def set_values(self, changes: Changes, moment: Moment) -> None:
        """These values are so from now on, until a server writes others."""
        self._reporting().pin(changes)
        self.values_changed(changes, moment)

    def begin_incident(self, kind: str, moment: Moment) -> None:
        """An incident goes on from now; the next measurement shows it."""
        self._reporting().begin_incident(kind, moment.unix_us)

    def end_incident(self, kind: str, moment: Moment) -> None:
        """It is over."""
        self._reporting().end_incident(kind, moment.unix_us)

    def lose_power(self, intended_at_ns: int, moment: Moment) -> None:
        """Go silent: what is not in flash is gone, and nobody is told. Objects and packs are kept.

        Its connections have ended before.
        """
        self.environment.record(
            DevicePowerLost(
                at_ns=moment.at_ns, endpoint=self.endpoint, intended_at_ns=intended_at_ns
            )
        )
        self._forget_servers()
        if self._reporter is not None:
            self._reporter.next_sample_at = None
        uplink = self._uplink
        if uplink is not None:
            uplink.pause_at = uplink.drain_at = uplink.settle_at = None

    def restore_power(self, intended_at_ns: int, moment: Moment) -> None:
        """Boot: register, and connect if there is an account. Which alarms stood is remembered."""
        self.environment.record(
            DevicePowerRestored(
                at_ns=moment.at_ns, endpoint=self.endpoint, intended_at_ns=intended_at_ns
            )
        )
        self._reboot(moment, keeps_alarms=True)

    # ---- the MQTT connection ----

    def uplink_connected(self, moment: Moment) -> None:
        """CONNACK 0 arrived; the session has repeated what was in flight."""
        uplink, reporter = self._uplink, self._reporting()
        assert uplink is not None
        assert uplink.account is not None
        self._move_uplink(uplink, UplinkEvent.CONNECTION_ESTABLISHED, moment, renews_session=False)
        self.environment.record(
            DeviceConnected(
                at_ns=moment.at_ns,
                endpoint=self.endpoint,
                client_id=uplink.account.client_id,
                attempt=uplink.attempt,
            )
        )
        uplink.attempt = 0
        reporter.repeat_in_flight(moment)
        has_backlog = reporter.waiting > 0
        if self._is_generating:
            reporter.begin(self.tree, moment)
        if has_backlog:
            uplink.drain_at = moment.now
            self._drain_one(uplink, moment)
        else:
            self._publish_waiting(moment)

    def uplink_lost(self, reason: str, moment: Moment) -> None:
        """The connection ended or could not be made."""
        uplink = self._uplink
        assert uplink is not None
        self._move_uplink(uplink, UplinkEvent.CONNECTION_LOST, moment, renews_session=False)
        self._record_disconnected(reason, moment)
        settings = self.environment.settings
        uplink.drain_at = None
        uplink.pause_at = moment.now + pause_s(
            max(1, uplink.attempt),
            settings.reconnect_s,
            settings.reconnect_s_max,
            settings.reconnect_jitter_ratio,
            self.environment.chance(),
        )

    def pack_acknowledged(self, boot: str, sequence: int, moment: Moment) -> bool:
        """A PUBACK arrived; whether it was for a pack in flight."""
        is_news = self._reporting().acknowledge(boot, sequence, moment)
        if self._uplink is not None and self._uplink.drain_at is None:
            self._publish_waiting(moment)
        return is_news

    # ---- inside ----

    def _report(
        self, reporter: Reporter, uplink: UplinkLife, intended_at_ns: int, moment: Moment
    ) -> None:
        reporter.sample(self.tree, moment, intended_at_ns)
        self.tell_observers(None, moment)
        if uplink.drain_at is None:
            self._publish_waiting(moment)

    def _reporting(self) -> Reporter:
        reporter = self._reporter
        if reporter is None:
            lot, identity = self._lot, self.identity
            reporter = self._reporter = Reporter(
                lot.environment,
                identity,
                lot.model,
                lot.city_s,
                lot.phase_of(self._number),
                lot.incidents.get(self.endpoint, ()),
            )
        return reporter

    def _bring_up_to_date(self, moment: Moment) -> None:
        # While it reports, values are at most an interval old; before, nobody else measures.
        reporter = self._reporting()
        if reporter.next_sample_at is None:
            reporter.measure(self.tree, moment.unix_us)
        city_s = self.environment.settings.city_s(moment.unix_us)
        self.tree.apply({_CURRENT_TIME: int(city_s)})

    def _follow_up(self, served: Served, moment: Moment) -> None:
        touched = served.touched
        if served.operation == "execute":
            if touched[0] == REBOOT:
                self._reboot(moment)
            return
        if any(path.object_id in _UPLINK_OBJECTS for path in touched):
            self._refresh_uplink(moment, at_once=served.operation == "delete")
        elif served.operation in ("write", "write_composite"):
            # A command takes effect when it comes, not when the next report is due.
            self._reporting().unpin(touched)
            self._reporting().measure(self.tree, moment.unix_us)
            self.tell_observers(None, moment)

    def _reboot(self, moment: Moment, *, keeps_alarms: bool = False) -> None:
        if self._uplink is not None and self._uplink.account is not None:
            self._drop_account(self._uplink, "rebooted", moment)
        self._reporting().reboot(keeps_alarms=keeps_alarms)
        self.switch_on(moment)
        self._refresh_uplink(moment, at_once=True)

    def _refresh_uplink(self, moment: Moment, *, at_once: bool = False) -> None:
        settings = self.environment.settings
        account, streams, is_whole = read_uplink(
            self.tree,
            settings.topics,
            self.endpoint,
            self._lot.own_keys.get(self.endpoint, b""),
        )
        if streams or self._reporter is not None:
            self._reporting().set_streams(streams, moment.now)
        uplink = self._uplink
        if uplink is None:
            if account is None:
                return
            uplink = self._uplink = UplinkLife()
        if account == uplink.account:
            uplink.settle_at = None
        elif is_whole or at_once:
            uplink.settle_at = None
            self._change_account(uplink, account, moment)
        elif uplink.settle_at is None:
            # A server that is setting the account up writes one publication after the other.
            uplink.settle_at = moment.now + settings.settle_s

    def _change_account(
        self, uplink: UplinkLife, account: BrokerAccount | None, moment: Moment
    ) -> None:
        if account is None:
            self._drop_account(uplink, "credentials revoked", moment)
            return
        renews_session = uplink.account is None or account.session != uplink.account.session
        if uplink.state is UplinkState.CONNECTED:
            self._record_disconnected("credentials renewed", moment)
        uplink.account = account
        uplink.attempt = 0
        self.environment.record(
            CredentialsActivated(
                at_ns=moment.at_ns,
                endpoint=self.endpoint,
                client_id=account.client_id,
                certificate_sha256=hashlib.sha256(account.certificate).hexdigest(),
            )
        )
        if renews_session:
            self._reporting().lose_session()
        self._move_uplink(
            uplink, UplinkEvent.ACCOUNT_ACTIVATED, moment, renews_session=renews_session
        )

    def _drop_account(self, uplink: UplinkLife, reason: str, moment: Moment) -> None:
        if uplink.state is UplinkState.CONNECTED:
            self._record_disconnected(reason, moment)
        uplink.account = None
        self._reporting().lose_session()
        self._move_uplink(uplink, UplinkEvent.ACCOUNT_REVOKED, moment, renews_session=True)

    def _move_uplink(
        self, uplink: UplinkLife, event: UplinkEvent, moment: Moment, *, renews_session: bool
    ) -> None:
        step = TRANSITIONS[uplink.state][event]
        uplink.state = step.state
        if step.state is not UplinkState.BACKING_OFF:
            uplink.pause_at = None
        if step.state is not UplinkState.CONNECTED:
            uplink.drain_at = None
        if step.closes:
            self.want(CloseUplink())
        if step.opens and self.environment.settings.connects:
            assert uplink.account is not None
            uplink.attempt += 1
            uplink.connection += 1
            boot = self._reporting().boot
            self.want(
                OpenUplink(uplink.account, renews_session, boot, uplink.connection, moment.unix_us)
            )

    def _publish_waiting(self, moment: Moment) -> None:
        if self.uplink_state is UplinkState.CONNECTED:
            reporter = self._reporting()
            while (pack := reporter.next_pack(moment)) is not None:
                self.want(PublishPack(pack))

    def _drain_one(self, uplink: UplinkLife, moment: Moment) -> None:
        reporter = self._reporting()
        pack = reporter.next_pack(moment)
        if pack is not None:
            self.want(PublishPack(pack))
        pause = 1.0 / self.environment.settings.drain_per_s
        uplink.drain_at = moment.now + pause if reporter.waiting else None

    def _record_disconnected(self, reason: str, moment: Moment) -> None:
        self.environment.record(
            DeviceDisconnected(at_ns=moment.at_ns, endpoint=self.endpoint, reason=reason)
        )

    def _state_name(self) -> str:
        if self.uplink_state is UplinkState.CONNECTED:
            return "connected"
        if self.is_off:
            return "off"
        return "registered" if self.is_registered else "unregistered"
