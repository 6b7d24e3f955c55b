"""A fleet in virtual time: the late count from their intended start, and a power cut is silent.

Stories wait with `asyncio.sleep`, on a loop whose time is virtual: no test here really sleeps.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter

import pytest

from contracts.journal import DeviceRegistered, DeviceStarted
from contracts.load import DevicePowerLost, DevicePowerRestored
from fake_devices.fleet import DeviceLine, Fleet, FleetConfig
from fake_devices.fleet.addresses import SharedPeers
from fake_devices.fleet.arrivals import arrival_order, at_rate, of_profile
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.coap_side import FleetDriver
from fake_devices.fleet.commands import CutPower, Start, SwitchOff, SwitchOn
from fake_devices.fleet.load import FleetLoad
from fake_devices.fleet.peers import PeerBook
from fake_devices.load_profiles import WHOLE, Constant, LoadProfile, PowerCut, Share
from lwm2m.coap import CoapEndpoint, RequestReceived, Response, TransmissionParameters, codes
from lwm2m.transport import EndpointDriver
from runtime.latency import percentile_of

URI = "coap://127.0.0.1:5683"
DELAY_S = 0.0005


class _Selector(selectors.SelectSelector):
    """Where a loop would wait, time passes at once."""

    loop: VirtualLoop

    def select(self, timeout=None):
        if timeout:
            self.loop.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual; `now_s += 1` is what a busy second does to it."""

    def __init__(self):
        self.now_s = 1_000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.now_s

    # A clock, as components are given one.

    def now_ns(self):
        return round(self.now_s * 1e9)

    def wall_us(self):
        return round(self.now_s * 1e6)


class Wire:
    """Carries datagrams to the other end, after a moment; holds them while it `is_paused`."""

    def __init__(self, loop):
        self.loop = loop
        self.receive = None
        self.is_paused = False
        self.carried = 0
        self._held = []

    def send(self, datagrams):
        self.carried += len(datagrams)
        if self.is_paused:
            self._held += datagrams
        else:
            self.loop.call_later(DELAY_S, self.receive, list(datagrams))

    def resume(self):
        self.is_paused = False
        held, self._held = self._held, []
        self.receive(held)

    def close(self):
        pass


class Rig:
    """A fleet, a server that takes every registration, and the wires between them."""

    def __init__(self, loop, devices, **config):
        self.loop = loop
        self.records = []
        self.requests = Counter()
        self.up, self.down = Wire(loop), Wire(loop)
        settings = FleetConfig(devices_file="", server=URI, lifetime_s=3_600, **config)
        self.settings = settings
        self._peers = SharedPeers("127.0.0.1", 5683, devices)
        lines = [DeviceLine(f"lamp-{n}", f"S{n}", "street_lamp", 52, 4) for n in range(devices)]
        self.server = self._driver(self._serve, 1)
        self.server.attach(self.down)
        driver = FleetDriver(
            CoapEndpoint(TransmissionParameters(), random.Random(2).randbytes),
            lambda events: self.fleet.handle_coap_events(events),
            loop,
        )
        driver.attach(self.up)
        self.up.receive = self.server.receive_datagrams
        self.down.receive = lambda datagrams: driver.receive_datagrams(
            [each for each in datagrams if self.fleet.is_listening(each[1])]
        )
        self.fleet = Fleet(
            make_devices(settings, lines, self._peers, loop, self),
            PeerBook(URI, "127.0.0.1", self._peers, is_shared=True),
            driver,
            loop,
            in_flight_max=10,
            starts_per_turn_max=32,
        )

    def load(self):
        """What the fleet's process obeys."""
        endpoints = [device.endpoint for device in self.fleet.devices]
        return FleetLoad(self.settings, self.fleet, self.loop, endpoints)

    def record(self, record):
        self.records.append(record)

    def of(self, kind):
        return [each for each in self.records if isinstance(each, kind)]

    def latencies_ms(self):
        """From each device's intended start to its registration, in order."""
        intended = {r.endpoint: r.intended_at_ns for r in self.of(DeviceStarted)}
        return sorted((r.at_ns - intended[r.endpoint]) / 1e6 for r in self.of(DeviceRegistered))

    def _driver(self, handle, seed):
        endpoint = CoapEndpoint(TransmissionParameters(), random.Random(seed).randbytes)
        return EndpointDriver(endpoint, handle, self.loop)

    def _serve(self, events):
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests[event.request.code] += 1
                location = ("rd", str(self.requests.total()))
                self.server.respond(event.exchange, Response(codes.CREATED, location_path=location))


def play(story, devices, **config):
    """Run `story(rig)` in virtual time; returns the rig."""
    loop = VirtualLoop()

    async def whole():
        rig = Rig(loop, devices, **config)
        try:
            await story(rig)
        finally:
            rig.fleet.end()
        return rig

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(whole())


@pytest.mark.slow
def test_a_server_paused_for_a_second_shows_in_p99_and_max():
    async def story(rig):
        rig.loop.call_later(2.0, setattr, rig.up, "is_paused", True)
        rig.loop.call_later(3.0, rig.up.resume)
        profile = LoadProfile(registrations=(Constant(rate_per_s=1_000, duration_s=5),))
        rig.fleet.follow(of_profile(profile, 5_000, 1, WHOLE), rig.loop.now_ns())
        await asyncio.sleep(6.0)

    rig = play(story, 5_000)
    latencies = rig.latencies_ms()
    assert len(latencies) == 5_000
    # A thousand of five thousand were meant to begin in the second that the server was away, and
    # waited a second to nothing: of all, the 50 longest waited for 0.95 s or more.
    assert latencies[-1] == pytest.approx(1_000, abs=5)
    assert latencies[int(0.99 * 5_000) - 1] == pytest.approx(950, abs=10)
    assert latencies[int(0.9 * 5_000) - 1] == pytest.approx(500, abs=10)
    assert latencies[2_500] < 5
    assert sum(latency > 10 for latency in latencies) == pytest.approx(990, abs=10)
    # The loader was on time throughout: it is the server that was late.
    [lag] = rig.fleet.lags.take("fleet", 0)
    assert percentile_of(lag.lags, 0.99) < 2_000


def test_a_loader_that_was_busy_for_a_second_counts_from_what_was_intended():
    async def story(rig):
        def busy():
            rig.loop.now_s += 1.0

        rig.loop.call_later(0.5, busy)
        rig.fleet.follow(at_rate(range(200), 100.0), rig.loop.now_ns())
        await asyncio.sleep(4.0)

    rig = play(story, 200)
    began = rig.of(DeviceStarted)[0].intended_at_ns
    intended = [record.intended_at_ns - began for record in rig.of(DeviceStarted)]
    assert intended == [number * 10_000_000 for number in range(200)]
    assert rig.latencies_ms()[-1] == pytest.approx(1_000, abs=12)
    [lag] = rig.fleet.lags.take("fleet", 0)
    assert (lag.kind, lag.missed) == ("switch_on", 0)
    assert lag.lag_max_ns == pytest.approx(1e9, abs=1.2e7)
    assert sum(count for _, count in lag.lags) == 200


def test_in_a_power_cut_everybody_is_silent_and_comes_back_within_the_window():
    profile = LoadProfile(
        registrations=(Constant(rate_per_s=50, duration_s=1),),
        reconnects=(PowerCut(begins_s=2, outage_s=3, return_within_s=5),),
    )
    seen = {}

    async def story(rig):
        began = rig.loop.now_ns()
        rig.fleet.follow(of_profile(profile, 50, 1, WHOLE), began)
        await asyncio.sleep(1.9)
        seen["before"] = rig.fleet.counts.registered
        await asyncio.sleep(0.2)
        seen["carried"] = rig.up.carried
        await asyncio.sleep(2.8)
        seen["in the dark"] = rig.fleet.counts.registered
        seen["carried in the dark"] = rig.up.carried - seen["carried"]
        await asyncio.sleep(6.0)
        seen["after"] = rig.fleet.counts.registered
        seen["began"] = began

    rig = play(story, 50)
    assert (seen["before"], seen["in the dark"], seen["after"]) == (50, 0, 50)
    assert seen["carried in the dark"] == 0
    assert rig.requests == {codes.POST: 100}
    lost, restored = rig.of(DevicePowerLost), rig.of(DevicePowerRestored)
    assert {r.intended_at_ns - seen["began"] for r in lost} == {2_000_000_000}
    returns = [(r.intended_at_ns - seen["began"]) / 1e9 for r in restored]
    assert len({r.endpoint for r in restored}) == 50
    assert returns == sorted(returns)
    assert returns[0] == pytest.approx(5.05)
    assert returns[-1] == pytest.approx(9.95)
    assert [r.endpoint for r in restored] != [r.endpoint for r in lost]


def test_a_cut_that_the_process_is_told_of_is_one_of_a_share():
    seen = {}

    async def story(rig):
        load = rig.load()
        load.start(Start(rate_per_s=1_000.0))
        await asyncio.sleep(1.0)
        seen["began"] = rig.loop.now_ns() + 1_000_000_000
        load.cut_power(CutPower(outage_s=2, return_within_s=4, began_ns=seen["began"]))
        await asyncio.sleep(2.0)
        seen["in the dark"] = rig.fleet.counts.registered
        await asyncio.sleep(6.0)
        seen["after"] = rig.fleet.counts.registered

    rig = play(story, 10, share_first=1, share_of=2)
    assert (seen["in the dark"], seen["after"]) == (0, 10)
    assert {r.intended_at_ns for r in rig.of(DevicePowerLost)} == {seen["began"]}
    returns = [(r.intended_at_ns - seen["began"]) / 1e9 for r in rig.of(DevicePowerRestored)]
    # The second of two fleets with ten devices each: the second half of every tenth of the window.
    assert returns == pytest.approx([2.0 + (number + 0.75) * 0.4 for number in range(10)])


def test_devices_are_switched_by_their_position_in_the_file():
    seen = {}

    async def story(rig):
        load = rig.load()
        # Numbers are in the order of arrivals, lines of the file are not.
        order = arrival_order(range(5), rig.settings.seed)
        names = [""] * 5
        for number, position in enumerate(order):
            names[position] = rig.fleet.devices[number].endpoint
        load.switch_on(SwitchOn([3, 1], 2.0))
        await asyncio.sleep(3.0)
        assert [r.endpoint for r in rig.of(DeviceStarted)] == [names[3], names[1]]
        load.switch_off(SwitchOff([3, 0]))
        await asyncio.sleep(1.0)
        assert [r.endpoint for r in rig.of(DevicePowerLost)] == [names[3]]
        assert rig.fleet.counts.registered == 1
        load.switch_on(SwitchOn([0, 3]))
        await asyncio.sleep(1.0)
        assert [r.endpoint for r in rig.of(DeviceStarted)][2:] == [names[0]]
        assert [r.endpoint for r in rig.of(DevicePowerRestored)] == [names[3]]
        seen["registered"] = rig.fleet.counts.registered

    play(story, 5)
    assert seen["registered"] == 3


def test_who_was_started_with_all_others_is_switched_on_again():
    async def story(rig):
        load = rig.load()
        load.start(Start(rate_per_s=100.0))
        await asyncio.sleep(1.0)
        load.switch_off(SwitchOff([0, 1, 2]))
        await asyncio.sleep(1.0)
        assert rig.fleet.counts.registered == 0
        load.switch_on(SwitchOn([0, 1, 2], 1.0))
        await asyncio.sleep(2.0)
        assert rig.fleet.counts.registered == 3

    rig = play(story, 3)
    assert len(rig.of(DeviceStarted)) == len(rig.of(DevicePowerRestored)) == 3


def test_who_is_to_be_switched_on_in_the_dark_begins_when_power_is_back():
    profile = LoadProfile(
        registrations=(Constant(rate_per_s=10, duration_s=1, begins_s=2),),
        reconnects=(PowerCut(begins_s=1, outage_s=3, return_within_s=0),),
    )

    async def story(rig):
        rig.fleet.follow(of_profile(profile, 10, 1, WHOLE), rig.loop.now_ns())
        await asyncio.sleep(3.5)
        assert rig.fleet.counts.started == 0
        await asyncio.sleep(2.0)
        assert rig.fleet.counts.registered == 10

    rig = play(story, 10)
    assert {r.intended_at_ns / 1e9 for r in rig.of(DeviceStarted)} == {1_004.0}
    assert not rig.of(DevicePowerLost)


def test_a_report_that_nobody_can_make_is_missed_and_counted():
    profile = LoadProfile(telemetry=(Constant(rate_per_s=10, duration_s=1),))

    async def story(rig):
        rig.fleet.follow(of_profile(profile, 1, 1, WHOLE), rig.loop.now_ns())
        await asyncio.sleep(2.0)

    [lag] = play(story, 1).fleet.lags.take("fleet", 0)
    assert (lag.kind, lag.missed, lag.lags) == ("report", 10, [])


def test_fleets_that_share_a_profile_do_all_of_it_once():
    profile = LoadProfile(
        registrations=(Constant(rate_per_s=10, duration_s=3),),
        reconnects=(PowerCut(begins_s=5, outage_s=1, return_within_s=4, ratio=0.5),),
    )
    whole = [each.at_ns for each in of_profile(profile, 30, 1, WHOLE) if each.kind == "switch_on"]
    parts = [list(of_profile(profile, 10, 1, Share(n, 3))) for n in range(3)]
    assert sorted(e.at_ns for part in parts for e in part if e.kind == "switch_on") == whole
    returns = [e.at_ns for part in parts for e in part if e.kind == "power_on"]
    assert len(returns) == len(set(returns)) == 15


def test_fleets_of_one_run_have_addresses_of_their_own():
    first = SharedPeers("127.0.0.1", 5683, 300)
    second = SharedPeers("127.0.0.1", 5683, 300, 300)
    assert not {first[n][0] for n in range(300)} & {second[n][0] for n in range(300)}
    assert [second.number_of(second[n]) for n in range(300)] == list(range(300))
    assert second.number_of(first[0]) is None
    assert first.number_of(second[0]) is None
