"""Many devices in one process: feeds each what concerns it and carries out what it wants done.

No task per device: datagrams, MQTT connections and one wheel of deadlines call in, and whatever a
device answers with is done in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Protocol

import msgspec

from fake_devices.device import (
    CloseUplink,
    Device,
    EndExchange,
    Moment,
    Notify,
    OpenUplink,
    PublishPack,
    SendRequest,
    ServerAccount,
)
from fake_devices.fleet.arrivals import Intended, at_rate
from fake_devices.fleet.duties import Duties
from fake_devices.fleet.loop_health import Delays, LagBook, LoopHealth
from fake_devices.fleet.pacer import Pacer
from fake_devices.fleet.peers import PeerBook, UnusableAddress
from fake_devices.fleet.schedule import FleetSchedule
from fake_devices.fleet.timers import TimerWheel
from fake_devices.fleet.tls import TlsContexts
from fake_devices.fleet.uplink import Uplink
from lwm2m.coap import (
    Event,
    ExchangeFailed,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    UnknownExchange,
)
from lwm2m.registration import AlertReaction, reaction_to
from runtime.clock import Clock


class CoapSide(Protocol):
    """The CoAP endpoint of all devices, driven by the event loop."""

    def send_request(self, peer: Hashable, request: Request) -> int:
        """Send; returns the handle of the exchange."""

    def respond(self, exchange: int, response: Response) -> None:
        """Answer a request that was received."""

    def notify(self, exchange: int, response: Response, *, confirmable: bool) -> None:
        """Notify the observer of an exchange."""

    def cancel(self, exchange: int) -> None:
        """Forget an observation."""

    def forget_peer(self, peer: Hashable) -> None:
        """Give everything with this peer up: its security session is gone."""


class Counts:
    """How far the fleet has come, for progress lines."""

    __slots__ = ("connected", "packs_acknowledged", "registered", "started")

    def __init__(self) -> None:
        self.started = self.registered = self.connected = self.packs_acknowledged = 0

    def as_dict(self) -> dict[str, int]:
        """For a JSON line."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


class Fleet:
    """Devices in the order in which they are switched on; `book` has what each is to `coap`.

    `session_lost` is told of a peer that did not answer: its security session may be gone there.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        book: PeerBook,
        coap: CoapSide,
        clock: Clock,
        *,
        in_flight_max: int,
        starts_per_turn_max: int,
        session_lost: Callable[[Hashable], None] | None = None,
    ) -> None:
        self.counts = Counts()
        self.health = LoopHealth()
        self._devices = devices
        self._book = book
        self._session_lost = session_lost
        self._coap = coap
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._starts_per_turn_max = starts_per_turn_max
        self._loop = asyncio.get_running_loop()
        self._contexts = TlsContexts()
        self._exchanges: dict[int, SendRequest] = {}
        # Alerts that ended handshakes, until the failed exchange comes by.
        self._alerts: dict[Hashable, int] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._unresolved: list[tuple[int, SendRequest]] = []
        self._uplinks: list[Uplink | None] = [None] * len(devices)
        self._timers = TimerWheel(clock, self._loop, self._wake)
        self._to_flush: list[Uplink] = []
        self._pacers: list[Pacer] = []
        self._duties = Duties(self, devices, clock)
        self._may_sleep = any(each.environment.settings.queue_mode for each in devices[:1])
        # Devices without power.
        self._dark: set[int] = set()
        self._when_quiet: Callable[[], None] | None = None
        self._unquiet: set[int] = set()

    # ---- what the process asks ----

    def start(self, rate_per_s: float) -> None:
        """Begin the arrivals. A second call changes nothing."""
        if not self._pacers:
            self.follow(at_rate(range(len(self._devices)), rate_per_s), self._clock.now_ns())

    def follow(self, work: Iterator[Intended], began_ns: int) -> None:
        """Do all of `work` when it is intended, counted from `began_ns`, besides what is already
        followed."""
        pacer = Pacer(work, began_ns, self._clock, self._duties.issue, self._starts_per_turn_max)
        self._pacers.append(pacer)
        pacer.start()

    def follow_schedule(self, schedule: FleetSchedule, began_ns: int) -> None:
        """Do what a schedule says; the city's time is the schedule's from now on."""
        if self._devices:
            environment, header = self._devices[0].environment, schedule.header
            began_unix_s = (self._clock.wall_us() + (began_ns - self._clock.now_ns()) / 1e3) / 1e6
            environment.settings = msgspec.structs.replace(
                environment.settings,
                city_speed=header.speed,
                city_offset_s=header.from_s - began_unix_s * header.speed,
            )
        self.follow(schedule.intended(), began_ns)

    def quiesce(self, when_quiet: Callable[[], None]) -> None:
        """Generate nothing more; `when_quiet` is called once, when no pack is under way."""
        for pacer in self._pacers:
            pacer.stop()
        for number, device in enumerate(self._devices):
            device.stop_generating()
            self._schedule(number)
        self._unquiet = {
            number for number, device in enumerate(self._devices) if device.unacknowledged
        }
        self._when_quiet = when_quiet
        self._look_if_quiet()

    @property
    def devices(self) -> Sequence[Device]:
        """All of them, by number."""
        return self._devices

    @property
    def unacknowledged(self) -> int:
        """Packs that no broker has taken over."""
        return sum(device.unacknowledged for device in self._devices)

    def end(self) -> None:
        """Record every device's state and close all connections; nobody is de-registered."""
        moment = self._moment()
        for pacer in self._pacers:
            pacer.stop()
        self._timers.close()
        for task in tuple(self._resolving.values()):
            task.cancel()
        for device in self._devices:
            device.end(moment)
        for uplink in self._uplinks:
            if uplink is not None:
                uplink.close()

    def take_delays_ns(self) -> tuple[int, int]:
        """The 99th percentile and the maximum of `take_loop_delays`."""
        return self.take_loop_delays()[:2]

    @property
    def lags(self) -> LagBook:
        """How much later than intended work was issued, by kind."""
        return self._duties.lags

    def take_loop_delays(self) -> Delays:
        """How late timers ran since the last call."""
        self.health.add(self._timers.take_delays_ns())
        return self.health.take_all()

    def attend(self, number: int) -> None:
        """Carry out what a device wants done because of what somebody else told it."""
        self._carry_out(number)

    # ---- what is done to one device, as its load intends it at `at_ns` ----

    def switch_on(self, number: int, at_ns: int) -> None:
        """For the first time: the device registers, or bootstraps."""
        self.counts.started += 1
        self._devices[number].start(at_ns, self._moment())
        self._carry_out(number)

    def was_on(self, number: int) -> bool:
        """Whether the device was ever switched on."""
        return self._duties.was_on(number)

    def has_power(self, number: int) -> bool:
        """Whether the device can do anything."""
        return number not in self._dark

    def power_off(self, number: int, at_ns: int) -> None:
        """The device goes silent, without a word to anybody, and hears nothing any more."""
        self._dark.add(number)
        device, uplink = self._devices[number], self._uplinks[number]
        if uplink is not None:
            # It ends without a good-bye: the broker publishes the last will.
            uplink.fail("power lost")
        peers = [self._peer_at(number, account) for account in device.accounts]
        self.counts.registered -= device.is_registered
        device.lose_power(at_ns, self._moment())
        for peer in peers:
            if peer is not None:
                if self._session_lost is not None and self._book.is_secure(peer):
                    self._session_lost(peer)
                self._coap.forget_peer(peer)
        self._carry_out(number)

    def move(self, number: int, uri: str) -> None:
        """The device has another LwM2M server from now on, and registers there."""
        device = self._devices[number]
        peers = [self._peer_at(number, account) for account in device.accounts]
        self.counts.registered -= device.is_registered
        for peer in peers:
            if peer is not None:
                self._coap.forget_peer(peer)
        device.move_to(uri, self._moment())
        self._carry_out(number)

    def power_on(self, number: int, at_ns: int) -> None:
        """The device boots: it registers and connects anew."""
        self._dark.remove(number)
        self._devices[number].restore_power(at_ns, self._moment())
        self._carry_out(number)

    # ---- what CoAP reports ----

    def handle_coap_events(self, events: Sequence[Event]) -> None:
        """Give each event to the device that it concerns."""
        moment = self._moment()
        for event in events:
            number = self._book.number_of(event.peer)
            if number is None:
                continue  # a datagram to an address that no device has
            device = self._devices[number]
            if type(event) is RequestReceived:
                account = device.account_at(self._book.uri_of(event.peer))
                response = device.serve(
                    event.request, event.exchange, event.message_id, account, moment
                )
                self._coap.respond(event.exchange, response)
            elif type(event) is ResponseReceived or type(event) is ExchangeFailed:
                was_registered = device.is_registered
                self._handle_end(event, device, moment)
                self.counts.registered += device.is_registered - was_registered
            self._carry_out(number)

    def security_failed(self, peer: Hashable, alert: int | None) -> None:
        """A handshake with this peer came to nothing; `alert` is the number of the other side's."""
        if alert is not None:
            if reaction_to(alert) is AlertReaction.IGNORE:
                return
            self._alerts[peer] = alert
        # RFC 7252 §9.1: exchanges do not outlive their session.
        self._coap.forget_peer(peer)

    def main_account(self, peer: Hashable) -> ServerAccount | None:
        """The account that a device has with the main server, whose peer this is."""
        number = self._book.number_of(peer)
        return None if number is None else self._devices[number].account_at(self._book.main_uri)

    @property
    def may_be_deaf(self) -> bool:
        """Whether some device may hear nothing now: it sleeps, or has no power."""
        return self._may_sleep or bool(self._dark)

    def is_listening(self, peer: Hashable) -> bool:
        """Whether the device that this peer is a server of hears it."""
        number = self._book.number_of(peer)
        return number is None or (number not in self._dark and self._devices[number].is_listening)

    def _handle_end(
        self, event: ResponseReceived | ExchangeFailed, device: Device, moment: Moment
    ) -> None:
        sent = self._exchanges.pop(event.exchange, None)
        if sent is not None and isinstance(event, ResponseReceived):
            device.response_received(sent, event.response, moment)
        elif sent is not None:
            if self._session_lost is not None and self._book.is_secure(event.peer):
                self._session_lost(event.peer)
            device.exchange_failed(sent, moment, self._alerts.pop(event.peer, None))
        elif isinstance(event, ExchangeFailed):
            device.observation_ended(event.exchange, moment)

    # ---- what uplinks report ----

    def uplink_connected(self, number: int) -> None:
        """See `UplinkOwner`."""
        self.counts.connected += 1
        self._duties.connected(number)
        self._devices[number].uplink_connected(self._moment())
        self._carry_out(number)

    def uplink_lost(self, number: int, reason: str, was_connected: bool) -> None:
        """See `UplinkOwner`."""
        self.counts.connected -= was_connected
        self._devices[number].uplink_lost(reason, self._moment())
        self._carry_out(number)

    def pack_acknowledged(self, number: int, boot: str, sequence: int) -> None:
        """See `UplinkOwner`."""
        if self._devices[number].pack_acknowledged(boot, sequence, self._moment()):
            self.counts.packs_acknowledged += 1
        self._carry_out(number)
        if self._when_quiet is not None and self._devices[number].unacknowledged == 0:
            self._unquiet.discard(number)
            self._look_if_quiet()

    def flush_later(self, uplink: Uplink) -> None:
        """See `UplinkOwner`."""
        if not uplink.is_flush_due:
            uplink.is_flush_due = True
            if not self._to_flush:
                self._loop.call_soon(self._flush)
            self._to_flush.append(uplink)

    def now(self) -> float:
        """See `UplinkOwner`."""
        return self._clock.now_ns() / 1e9

    # ---- inside ----

    def _moment(self) -> Moment:
        return Moment(self._clock.now_ns(), self._clock.wall_us())

    def _peer_at(self, number: int, account: ServerAccount) -> Hashable | None:
        try:
            return self._book.find(number, account)
        except UnusableAddress:
            return None

    def _wake(self, number: int) -> None:
        moment = self._moment()
        uplink, device = self._uplinks[number], self._devices[number]
        uplink_at = None if uplink is None else uplink.next_timer()
        if uplink is not None and uplink_at is not None and uplink_at <= moment.now:
            uplink.handle_timer()
        device_at = device.next_timer()
        if device_at is not None and device_at <= moment.now:
            device.handle_timer(moment)
        self._carry_out(number)

    def _carry_out(self, number: int) -> None:
        device = self._devices[number]
        while actions := device.take_actions():
            for action in actions:
                if type(action) is SendRequest:
                    self._send(number, action)
                elif type(action) is PublishPack:
                    self._uplink(number).publish(action.pack)
                elif type(action) is Notify:
                    self._notify(number, action)
                elif type(action) is EndExchange:
                    self._coap.cancel(action.exchange)
                elif type(action) is OpenUplink:
                    self._uplink(number).open(action, self._contexts)
                elif type(action) is CloseUplink:
                    self.counts.connected -= self._uplink(number).close()
        self._schedule(number)

    def _send(self, number: int, sent: SendRequest) -> None:
        if number in self._dark:
            return  # it was looking its server up
        try:
            peer = self._book.find(number, sent.account)
            if peer is None:
                self._resolve(number, sent)
                return
            self._exchanges[self._coap.send_request(peer, sent.request)] = sent
        except (PeerQueueFull, UnusableAddress):
            # Told in a turn of its own: the device is in the middle of something.
            self._loop.call_soon(self._fail, number, sent)

    def _fail(self, number: int, sent: SendRequest) -> None:
        self._devices[number].exchange_failed(sent, self._moment())
        self._carry_out(number)

    def _notify(self, number: int, notify: Notify) -> None:
        try:
            self._coap.notify(notify.exchange, notify.response, confirmable=notify.confirmable)
        except UnknownExchange:
            self._devices[number].observation_ended(notify.exchange, self._moment())

    def _resolve(self, number: int, sent: SendRequest) -> None:
        """Send when the address of the server's host is known."""
        self._unresolved.append((number, sent))
        uri = sent.account.uri
        if uri not in self._resolving:
            task = self._loop.create_task(self._book.resolve(sent.account))
            self._resolving[uri] = task
            task.add_done_callback(lambda done: self._resolved(uri, done))

    def _resolved(self, uri: str, done: asyncio.Task[None]) -> None:
        del self._resolving[uri]
        if done.cancelled():
            return
        is_known = done.exception() is None
        waiting = [each for each in self._unresolved if each[1].account.uri == uri]
        self._unresolved = [each for each in self._unresolved if each[1].account.uri != uri]
        for number, sent in waiting:
            if is_known:
                self._send(number, sent)
            else:
                self._fail(number, sent)

    def _uplink(self, number: int) -> Uplink:
        uplink = self._uplinks[number]
        if uplink is None:
            uplink = self._uplinks[number] = Uplink(number, self, self._in_flight_max)
        return uplink

    def _schedule(self, number: int) -> None:
        uplink = self._uplinks[number]
        at = self._devices[number].next_timer()
        uplink_at = None if uplink is None else uplink.next_timer()
        if uplink_at is not None and (at is None or uplink_at < at):
            at = uplink_at
        self._timers.set(number, at)

    def _flush(self) -> None:
        to_flush, self._to_flush = self._to_flush, []
        for uplink in to_flush:
            uplink.flush()

    def _look_if_quiet(self) -> None:
        if self._when_quiet is not None and not self._unquiet:
            when_quiet, self._when_quiet = self._when_quiet, None
            when_quiet()
