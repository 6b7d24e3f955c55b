"""Many devices in one process: feeds each what concerns it and carries out what it wants done.

No task per device: datagrams, MQTT connections and one heap of deadlines call in, and whatever a
device answers with is done in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from fake_devices.device import (
    CloseUplink,
    Device,
    Moment,
    OpenUplink,
    PublishPack,
    SendRequest,
)
from fake_devices.fleet.arrivals import intended_at_ns
from fake_devices.fleet.loop_health import LoopHealth
from fake_devices.fleet.timers import TICK_S, TimerHeap
from fake_devices.fleet.tls import TlsContexts
from fake_devices.fleet.uplink import Uplink
from lwm2m.coap import (
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
)
from runtime.clock import Clock


class CoapSide(Protocol):
    """The CoAP endpoint of all devices, driven by the event loop."""

    def send_request(self, peer: Hashable, request: Request) -> int:
        """Send; returns the handle of the exchange."""

    def respond(self, exchange: int, response: Response) -> None:
        """Answer a request that was received."""


class Counts:
    """How far the fleet has come, for progress lines."""

    __slots__ = ("connected", "packs_acknowledged", "registered", "started")

    def __init__(self) -> None:
        self.started = self.registered = self.connected = self.packs_acknowledged = 0

    def as_dict(self) -> dict[str, int]:
        """For a JSON line."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


class Fleet:
    """Devices in the order in which they are switched on; `peers` is what each is to `coap`."""

    def __init__(
        self,
        devices: Sequence[Device],
        peers: Sequence[Hashable],
        coap: CoapSide,
        clock: Clock,
        *,
        in_flight_max: int,
        starts_per_turn_max: int,
    ) -> None:
        self.counts = Counts()
        self.health = LoopHealth()
        self._devices = devices
        self._peers = peers
        self._numbers = {peer: number for number, peer in enumerate(peers)}
        self._coap = coap
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._starts_per_turn_max = starts_per_turn_max
        self._loop = asyncio.get_running_loop()
        self._contexts = TlsContexts()
        self._exchanges = [-1] * len(devices)
        self._uplinks: list[Uplink | None] = [None] * len(devices)
        self._timers = TimerHeap(clock, self._loop, self._wake)
        self._to_flush: list[Uplink] = []
        self._began_ns = 0
        self._rate_per_s = 0.0
        self._starting: asyncio.TimerHandle | None = None
        self._when_quiet: Callable[[], None] | None = None
        self._unquiet: set[int] = set()

    # ---- what the process asks ----

    def start(self, rate_per_s: float) -> None:
        """Begin the arrivals. A second call changes nothing."""
        if self._began_ns:
            return
        self._began_ns = self._clock.now_ns()
        self._rate_per_s = rate_per_s
        self._start_due()

    def quiesce(self, when_quiet: Callable[[], None]) -> None:
        """Generate nothing more; `when_quiet` is called once, when no pack is under way."""
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        for number, device in enumerate(self._devices):
            device.stop_generating()
            self._schedule(number)
        self._unquiet = {
            number for number, device in enumerate(self._devices) if device.unacknowledged
        }
        self._when_quiet = when_quiet
        self._look_if_quiet()

    @property
    def unacknowledged(self) -> int:
        """Packs that no broker has taken over."""
        return sum(device.unacknowledged for device in self._devices)

    def end(self) -> None:
        """Record every device's state and close all connections; nobody is de-registered."""
        moment = self._moment()
        if self._starting is not None:
            self._starting.cancel()
        self._timers.close()
        for device in self._devices:
            device.end(moment)
        for uplink in self._uplinks:
            if uplink is not None:
                uplink.close()

    def take_delays_ns(self) -> tuple[int, int]:
        """How late timers and arrivals ran since the last call: p99 and maximum."""
        self.health.add(self._timers.take_delays_ns())
        return self.health.take()

    # ---- what CoAP reports ----

    def handle_coap_events(self, events: Sequence[Event]) -> None:
        """Give each event to the device that it concerns."""
        moment = self._moment()
        for event in events:
            number = self._numbers.get(event.peer)
            if number is None:
                continue  # a datagram to an address that no device has
            device = self._devices[number]
            if isinstance(event, RequestReceived):
                response = device.serve(event.request, event.message_id, moment)
                self._coap.respond(event.exchange, response)
            elif isinstance(event, ResponseReceived | ExchangeFailed):
                # A request that the device has forgotten, by a reboot, is nobody's.
                if event.exchange != self._exchanges[number]:
                    continue
                was_registered = device.is_registered
                if isinstance(event, ResponseReceived):
                    device.response_received(event.response, moment)
                else:
                    device.exchange_failed(moment)
                self.counts.registered += device.is_registered - was_registered
            self._carry_out(number)

    # ---- what uplinks report ----

    def uplink_connected(self, number: int) -> None:
        """See `UplinkOwner`."""
        self.counts.connected += 1
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

    def _start_due(self) -> None:
        self._starting = None
        now_ns = self._clock.now_ns()
        for _ in range(self._starts_per_turn_max):
            number = self.counts.started
            if number == len(self._devices):
                return
            intended_ns = intended_at_ns(number, self._began_ns, self._rate_per_s)
            if intended_ns > now_ns:
                delay_s = max(TICK_S, (intended_ns - now_ns) / 1e9)
                self._starting = self._loop.call_later(delay_s, self._start_due)
                return
            self.health.add([now_ns - intended_ns])
            self.counts.started += 1
            self._devices[number].start(intended_ns, self._moment())
            self._carry_out(number)
        self._starting = self._loop.call_later(0, self._start_due)

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
                if isinstance(action, PublishPack):
                    self._uplink(number).publish(action.pack)
                elif isinstance(action, SendRequest):
                    self._exchanges[number] = self._coap.send_request(
                        self._peers[number], action.request
                    )
                elif isinstance(action, OpenUplink):
                    self._uplink(number).open(action.account, action.renews_session, self._contexts)
                elif isinstance(action, CloseUplink):
                    self.counts.connected -= self._uplink(number).close()
        self._schedule(number)

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
