"""A device's MQTT connection against a broker on loopback."""

import asyncio
import contextlib
import ssl

import pytest

from contracts.presence import decode_presence
from fake_devices.device import BrokerAccount, OpenUplink, Pack
from fake_devices.fleet.tls import TlsContexts
from fake_devices.fleet.uplink import Uplink
from runtime.clock import SystemClock


class Owner:
    """Notes what an uplink reports."""

    def __init__(self, moved):
        self.connected = 0
        self.lost = []
        self.acknowledged = []
        self._moved = moved
        self._clock = SystemClock()
        self.clock_skew_s = 0.0

    def uplink_connected(self, number):
        self.connected += 1
        self._moved.set()

    def uplink_lost(self, number, reason, was_connected):
        self.lost.append((reason, was_connected))
        self._moved.set()

    def pack_acknowledged(self, number, boot, sequence):
        self.acknowledged.append((boot, sequence))
        self._moved.set()

    def flush_later(self, uplink):
        asyncio.get_running_loop().call_soon(uplink.flush)

    def now(self):
        return self._clock.now_ns() / 1e9 + self.clock_skew_s


def account(port, keys=None, authority=b"", **changes):
    fields = {
        "is_secure": keys is not None,
        "host": "127.0.0.1",
        "port": port,
        "client_id": "lamp-7",
        "clean_session": True,
        "keep_alive_s": 60,
    }
    if keys is not None:
        fields |= {
            "certificate": keys.certificate,
            "secret_key": keys.key,
            "ca_certificate": authority,
        }
    return BrokerAccount(**(fields | changes))


def pack(sequence, qos=1):
    return Pack("boot", sequence, "state", "devices/lamp-7/state", qos, False, b"pack")


def play(world, story, *, secure=False):
    """Run a story with a broker, an owner and its uplink."""

    async def run():
        context = world.broker_context() if secure else None
        async with world.broker_up(context) as broker:
            owner = Owner(world.moved)
            uplink = Uplink(0, owner, in_flight_max=10)
            try:
                await story(broker, owner, uplink)
            finally:
                uplink.close()
                for _ in range(3):
                    await asyncio.sleep(0)

    asyncio.run(run())


def test_packs_are_published_over_mutual_tls_and_acknowledged(world):
    keys = world.authority.issue("lamp-7")

    async def story(broker, owner, uplink):
        uplink.open(
            OpenUplink(account(broker.port, keys, world.authority.certificate), True), TlsContexts()
        )
        await world.until(lambda: owner.connected)
        uplink.publish(pack(1))
        uplink.publish(pack(2))
        uplink.publish(pack(3, qos=0))
        await world.until(lambda: len(owner.acknowledged) == 2)
        assert owner.acknowledged == [("boot", 1), ("boot", 2)]
        await world.until(lambda: len(broker.published) == 3)
        [connect] = broker.connects
        assert (connect.client_id, connect.clean_session, connect.keep_alive_s) == (
            "lamp-7",
            True,
            60,
        )
        assert uplink.close()

    play(world, story, secure=True)


def test_what_was_in_flight_is_repeated_with_dup_on_the_next_connection(world):
    async def story(broker, owner, uplink):
        broker.acknowledges = False
        uplink.open(OpenUplink(account(broker.port), True), TlsContexts())
        await world.until(lambda: owner.connected)
        uplink.publish(pack(1))
        await world.until(lambda: broker.published)
        broker.cut()
        await world.until(lambda: owner.lost)
        assert owner.lost[0][1]
        broker.acknowledges = True
        uplink.open(OpenUplink(account(broker.port), False), TlsContexts())
        await world.until(lambda: owner.acknowledged)
        assert [each.duplicate for each in broker.published] == [False, True]
        assert owner.acknowledged == [("boot", 1)]

    play(world, story)


def test_a_renewed_session_repeats_nothing(world):
    async def story(broker, owner, uplink):
        broker.acknowledges = False
        uplink.open(OpenUplink(account(broker.port), True), TlsContexts())
        await world.until(lambda: owner.connected)
        uplink.publish(pack(1))
        await world.until(lambda: broker.published)
        uplink.close()
        uplink.open(OpenUplink(account(broker.port, client_id="lamp-8"), True), TlsContexts())
        await world.until(lambda: owner.connected == 2)
        uplink.publish(pack(2))
        await world.until(lambda: len(broker.published) == 2)
        assert not broker.published[1].duplicate
        assert owner.lost == []

    play(world, story)


def test_a_refusal_is_reported_once_with_its_reason(world):
    async def story(broker, owner, uplink):
        broker.return_code = 5
        uplink.open(OpenUplink(account(broker.port), True), TlsContexts())
        await world.until(lambda: owner.lost)
        assert owner.lost == [("refused: bad identity", False)]
        assert owner.connected == 0

    play(world, story)


def test_a_broker_that_is_not_there_is_reported(world):
    async def story(broker, owner, uplink):
        uplink.open(OpenUplink(account(1), True), TlsContexts())
        await world.until(lambda: owner.lost)
        assert owner.lost[0][0].startswith("cannot connect")

    play(world, story)


@pytest.mark.parametrize("host", ["broker.invalid", "a" * 70, "\udc80"])
def test_a_host_that_cannot_be_reached_is_reported(world, host):
    async def story(broker, owner, uplink):
        uplink.open(OpenUplink(account(broker.port, host=host), True), TlsContexts())
        await world.until(lambda: owner.lost)
        assert owner.lost[0][0].startswith("cannot connect")

    play(world, story)


def test_a_broker_that_says_nothing_is_given_up(world):
    async def story(broker, owner, uplink):
        silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        uplink.open(OpenUplink(account(port), True), TlsContexts())
        assert uplink.next_timer() is not None
        owner.clock_skew_s = 60.0
        uplink.handle_timer()
        assert owner.lost == [("no connection within 15 s", False)]
        assert uplink.next_timer() is None
        silent.close()
        await silent.wait_closed()

    play(world, story)


@pytest.mark.parametrize("flaw", ["another authority", "garbage"])
def test_bad_credentials_end_the_attempt_with_a_reason(world, flaw):
    keys = world.authority.issue("lamp-7")
    if flaw == "another authority":
        keys = world.Authority("another").issue("lamp-7")
    else:
        keys = world.Keys(b"garbage", keys.key)

    async def story(broker, owner, uplink):
        uplink.open(
            OpenUplink(account(broker.port, keys, world.authority.certificate), True), TlsContexts()
        )
        await world.until(lambda: owner.lost)
        assert len(owner.lost) == 1
        assert broker.connects == []

    play(world, story, secure=True)


def test_a_closed_uplink_reports_nothing_more(world):
    async def story(broker, owner, uplink):
        uplink.open(OpenUplink(account(broker.port), True), TlsContexts())
        assert not uplink.close()
        uplink.open(OpenUplink(account(broker.port), True), TlsContexts())
        await world.until(lambda: owner.connected)
        uplink.close()
        broker.cut()
        for _ in range(10):
            await asyncio.sleep(0)
        assert owner.lost == []
        assert owner.connected == 1

    play(world, story)


def test_a_broker_that_says_good_bye_is_left_at_once(world):
    keys = world.authority.issue("lamp-7")

    async def story(broker, owner, uplink):
        given = account(broker.port, keys, world.authority.certificate)
        uplink.open(OpenUplink(given, True), TlsContexts())
        await world.until(lambda: owner.connected)
        [link] = broker.links
        with contextlib.suppress(ssl.SSLWantReadError):
            link._tls.unwrap()
        link._flush()
        await world.until(lambda: owner.lost)
        assert owner.lost == [("closed by the broker", True)]
        await world.until(lambda: link.transport is None)
        assert owner.lost == [("closed by the broker", True)]

    play(world, story, secure=True)


def test_silence_is_filled_with_pings_and_a_silent_broker_is_left(world):
    async def story(broker, owner, uplink):
        uplink.open(OpenUplink(account(broker.port, keep_alive_s=10), True), TlsContexts())
        await world.until(lambda: owner.connected)
        for _ in range(4):
            owner.clock_skew_s += 20
            uplink.handle_timer()
        assert owner.lost
        assert "PINGREQ" in owner.lost[0][0]

    play(world, story)


def test_a_lost_connection_is_resumed_by_the_same_account_only(world):
    keys, other = world.authority.issue("lamp-7"), world.authority.issue("lamp-8")

    async def story(broker, owner, uplink):
        contexts = TlsContexts()

        async def connect(with_keys):
            owner.connected = 0
            given = account(broker.port, with_keys, world.authority.certificate)
            uplink.open(OpenUplink(given, False), contexts)
            await world.until(lambda: owner.connected)
            return broker.links[-1]._tls.session_reused

        async def cut():
            lost = len(owner.lost)
            broker.cut()
            await world.until(lambda: len(owner.lost) > lost)

        found = []
        for each in (keys, keys, other, other):
            found.append(await connect(each))
            await cut()
        assert found == [False, True, False, True]

    play(world, story, secure=True)


def test_a_connection_is_born_says_good_bye_and_leaves_a_will(world):
    topic = "devices/lamp-7/presence"

    def wanted(broker, connection):
        told = account(broker.port, presence_topic=topic)
        return OpenUplink(told, connection == 1, "b1", connection, 5)

    async def story(broker, owner, uplink):
        def told():
            # What a connection ended before its PUBACK comes again on the next.
            return [each for each in broker.published if not each.duplicate]

        for connection in (1, 2):
            uplink.open(wanted(broker, connection), TlsContexts())
            await world.until(lambda: len(told()) == 2 * connection - 1)  # noqa: B023  # awaited here
            uplink.close()
            await world.until(lambda: len(told()) == 2 * connection)  # noqa: B023  # awaited here
        heard = [(each.topic, decode_presence(each.payload)) for each in told()]
        assert [(where, one.cause, one.connection) for where, one in heard] == [
            (topic, "birth", 1), (topic, "good_bye", 1), (topic, "birth", 2),
            (topic, "good_bye", 2),
        ]  # fmt: skip
        wills = [connect.will for connect in broker.connects]
        assert [(will.topic, will.qos, will.retain) for will in wills] == [(topic, 1, False)] * 2
        assert [decode_presence(will.payload).connection for will in wills] == [1, 2]

    play(world, story)


def test_an_account_that_loses_its_presence_topic_loses_its_will(world):
    async def story(broker, owner, uplink):
        told = account(broker.port, presence_topic="devices/lamp-7/presence")
        uplink.open(OpenUplink(told, True, "b1", 1, 5), TlsContexts())
        await world.until(lambda: owner.connected)
        uplink.close()
        uplink.open(OpenUplink(account(broker.port), False, "b1", 2, 5), TlsContexts())
        await world.until(lambda: owner.connected == 2)
        assert [connect.will is None for connect in broker.connects] == [False, True]

    play(world, story)
