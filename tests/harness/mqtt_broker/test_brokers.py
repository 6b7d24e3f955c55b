"""What every broker of a bench must do, told by a peer on the wire; differences by name."""

from __future__ import annotations

import random
import ssl
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
)
from tests.harness.mqtt_broker.conftest import KNOWN_DIFFERENCES
from tests.harness.mqtt_broker.world import ROOT, WITHIN_S, Authority, Closed, Peer, Target


def bridge(server: str) -> str:
    return f"svc:bridge:{server}"


def credentials(server: str, endpoint: str = "e") -> str:
    return f"lwm2m/{server}/{endpoint}/credentials"


def subscriber(target: Target, server: str, *, clean: bool = False) -> Peer:
    """A bridge that reads its credentials topics."""
    peer = target.client(bridge(server), clean=clean)
    assert peer.subscribe(credentials(server, "+")) == (1,)
    return peer


def publish_all(target: Target, server: str, payloads: list[bytes]) -> None:
    with target.client("svc:bootstrap") as publisher:
        for number, payload in enumerate(payloads, 1):
            publisher.publish(credentials(server), payload, number)


# ---- who is let in ----


def is_let_in(target: Target, tls: ssl.SSLContext, client_id: str) -> bool:
    """With TLS 1.3 a client learns only after its handshake that it was refused."""
    try:
        with target.peer(client_id, tls=tls) as peer:
            connack = peer.connect(client_id)
            return connack is not None and connack.return_code == 0
    except OSError:
        return False


def test_a_client_without_a_certificate_is_not_let_in(target: Target) -> None:
    assert not is_let_in(target, target.pki.context(), target.new_device())


def test_a_certificate_of_another_ca_is_not_let_in(target: Target, other_pki: Authority) -> None:
    device = target.new_device()
    tls = other_pki.context(device, trusting=target.pki.ca_file)
    assert not is_let_in(target, tls, device)


def test_a_certificate_that_names_nobody_gets_nothing(target: Target) -> None:
    nobody = "svc:nobody"
    if target.kind == "mosquitto":  # it lets in whoever has a certificate, and delivers nothing
        server = target.new_server()
        with target.client(nobody) as peer, target.client(bridge(server)) as speaker:
            peer.subscribe("lwm2m/+/+/event/+")
            speaker.publish(event(server, "e"))
            assert peer.is_served()
        return
    assert not is_let_in(target, target.pki.context(nobody), nobody)


def test_a_certificate_with_two_names_is_neither(target: Target) -> None:
    device, other = target.new_device(), target.new_device()
    tls = target.pki.context(device, other)
    if target.kind == "mosquitto":  # it takes one of them
        with target.peer(other, tls=tls) as peer:
            assert peer.connect(device) is not None
        return
    assert not is_let_in(target, tls, device)
    assert not is_let_in(target, tls, other)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_anothers_client_id_disturbs_nobody(target: Target, clean: bool) -> None:
    server, device = target.new_server(), target.new_device()
    with subscriber(target, server) as victim, target.peer(device) as intruder:
        connack = intruder.connect(bridge(server), clean=clean)
        if target.kind == "mosquitto":  # it goes on under its certificate's name
            assert connack == type(connack)(session_present=False, return_code=0)
        else:
            assert connack is None or connack.return_code == 5
            assert intruder.is_closed()
        publish_all(target, server, [b"for the victim"])
        assert victim.message(acknowledge=False).payload == b"for the victim"
        assert victim.is_served()
        if target.kind == "mosquitto":
            assert intruder.is_served()  # and no message came before the answer
        victim.vanish()
    with target.peer(device) as intruder:
        intruder.connect(bridge(server), clean=clean)
    with target.client(bridge(server), clean=False) as victim:
        if target.kind == "amqtt" and not victim.session_present:
            pytest.xfail("it forgets a session whose connection it has not seen end yet")
        assert victim.session_present


def test_unacknowledged_messages_survive_an_intruder(target: Target) -> None:
    server, device = target.new_server(), target.new_device()
    with subscriber(target, server) as victim:
        publish_all(target, server, [b"kept"])
        victim.message(acknowledge=False)
    with target.peer(device) as intruder:
        intruder.connect(bridge(server), clean=True)
    with target.client(bridge(server), clean=False) as victim:
        assert victim.message().payload == b"kept"


# ---- who may say and read what ----


def test_a_message_to_anothers_topic_reaches_nobody(target: Target) -> None:
    liar, device = target.new_device(), target.new_device()
    with (
        target.client("svc:tap") as tap,
        target.client(liar) as publisher,
        target.client(device) as honest,
    ):
        tap.subscribe(f"devices/{device}/state")
        publisher.send(Publish(f"devices/{device}/state", b"a lie", 1, 1))
        if target.kind == "mosquitto":  # it acknowledges and drops
            assert publisher.expect(PubAck).packet_id == 1
        elif target.kind == "embedded":
            assert publisher.is_closed()
        honest.publish(f"devices/{device}/state", b"the truth")
        assert tap.message().payload == b"the truth"


def test_a_subscription_beyond_the_policy_is_refused(target: Target) -> None:
    device, server = target.new_device(), target.new_server()
    if target.kind == "mosquitto":  # it grants every filter, and delivers only what is allowed
        with target.client(device) as peer:
            peer.subscribe("#")
            peer.publish(f"devices/{device}/state")
            publish_all(target, server, [b"not for devices"])
            assert peer.is_served()
        return
    refused = (SUBSCRIPTION_REFUSED,)
    with target.client(device) as peer:
        assert peer.subscribe("#") == refused
        assert peer.subscribe(f"devices/{device}/state") == refused
    with target.client(bridge(server)) as peer:
        assert peer.subscribe(credentials(target.new_server(), "+")) == refused
        assert peer.subscribe("lwm2m/+/+/credentials") == refused
        assert peer.subscribe(credentials(server, "+")) == (1,)


def answer_to(peer: Peer, data: bytes) -> object:
    """The packet that follows `data`. Raises `Closed`, also while the data is still being sent."""
    peer.send_bytes(data)
    return peer.receive()


def test_an_oversize_packet_is_not_acknowledged_and_ends_the_connection(target: Target) -> None:
    device = target.new_device()
    with target.client(device) as peer:
        oversize = encode(Publish(f"devices/{device}/state", bytes(70_000), 1, 1))
        with pytest.raises(Closed):
            answer_to(peer, oversize)
    with target.client(device) as peer:
        assert peer.is_served()


def test_a_message_just_within_the_limit_passes(target: Target) -> None:
    device = target.new_device()
    with target.client("svc:tap") as tap, target.client(device) as peer:
        tap.subscribe(f"devices/{device}/state")
        peer.publish(f"devices/{device}/state", bytes(65_000))
        assert len(tap.message().payload) == 65_000


# ---- nothing is lost ----


def test_unacknowledged_messages_come_again_with_dup_in_order(target: Target) -> None:
    server = target.new_server()
    payloads = [b"%d" % number for number in range(20)]
    with subscriber(target, server) as reader:
        publish_all(target, server, payloads)
        for _ in payloads:
            reader.message(acknowledge=False)
        reader.vanish()
    with target.client(bridge(server), clean=False) as reader:
        assert reader.session_present
        again = [reader.message() for _ in payloads]
    assert [message.payload for message in again] == payloads
    assert all(message.duplicate for message in again)
    assert len({message.packet_id for message in again}) == len(payloads)


def test_only_what_was_not_acknowledged_comes_again(target: Target) -> None:
    server = target.new_server()
    with subscriber(target, server) as reader:
        publish_all(target, server, [b"done", b"open"])
        reader.message()
        reader.message(acknowledge=False)
        assert reader.is_served()  # so the broker has read the PUBACK
        reader.vanish()
    with target.client(bridge(server), clean=False) as reader:
        assert reader.message().payload == b"open"
        assert reader.is_served()


@pytest.mark.slow
def test_a_message_waits_for_its_acknowledgement_as_long_as_it_takes(target: Target) -> None:
    server = target.new_server()
    with subscriber(target, server) as reader:
        publish_all(target, server, [b"slowly"])
        reader.message(acknowledge=False)
        with pytest.raises(TimeoutError):
            reader.receive(within_s=6)  # amqtt gives up after five seconds
        reader.vanish()
    with target.client(bridge(server), clean=False) as reader:
        assert reader.message().payload == b"slowly"


def test_an_offline_persistent_session_gets_everything_in_order(target: Target) -> None:
    server = target.new_server()
    payloads = [b"%d" % number for number in range(300)]
    with subscriber(target, server) as reader:
        reader.send(Disconnect())
        assert reader.is_closed()
    publish_all(target, server, payloads)
    with target.client(bridge(server), clean=False) as reader:
        assert [reader.message().payload for _ in payloads] == payloads


def test_a_clean_session_leaves_nothing_behind(target: Target) -> None:
    server = target.new_server()
    with subscriber(target, server, clean=True) as reader:
        reader.send(Disconnect())
        assert reader.is_closed()
    publish_all(target, server, [b"for nobody"])
    with target.client(bridge(server), clean=False) as reader:
        assert not reader.session_present
        assert reader.is_served()


def test_a_subscriber_that_is_slow_to_acknowledge_loses_nothing(target: Target) -> None:
    server = target.new_server()
    payloads = [b"%d" % number + bytes(1000) for number in range(500)]
    with subscriber(target, server) as reader:
        publish_all(target, server, payloads)
        received = [reader.message(acknowledge=False) for _ in payloads]
        assert [message.payload for message in received] == payloads
        reader.send(*(PubAck(message.packet_id) for message in received))
        assert reader.is_served()


def test_unsubscribed_topics_are_silent(target: Target) -> None:
    server = target.new_server()
    with subscriber(target, server) as reader:
        reader.send(Unsubscribe(2, (credentials(server, "+"),)))
        assert reader.expect(UnsubAck).packet_id == 2
        publish_all(target, server, [b"unheard"])
        assert reader.is_served()


# ---- wills, keep-alive, take-over ----


def event(server: str, endpoint: str) -> str:
    return f"lwm2m/{server}/{endpoint}/event/offline"


def test_the_will_of_a_client_that_vanishes_is_published(target: Target) -> None:
    server = target.new_server()
    with target.client("svc:bootstrap") as reader:
        reader.subscribe(f"lwm2m/{server}/+/event/+")
        peer = target.client(bridge(server), will=Will(event(server, "gone"), b"gone", 1))
        peer.vanish()
        assert reader.message().payload == b"gone"


def test_a_client_that_says_good_bye_leaves_no_will(target: Target) -> None:
    server = target.new_server()
    with target.client("svc:bootstrap") as reader:
        reader.subscribe(f"lwm2m/{server}/+/event/+")
        with target.client(bridge(server), will=Will(event(server, "gone"), b"gone", 1)) as peer:
            peer.send(Disconnect())
            assert peer.is_closed()
        with target.client(bridge(server)) as peer:
            peer.publish(event(server, "back"), b"back")
        assert reader.message().payload == b"back"


@pytest.mark.slow
def test_a_silent_client_is_given_up_and_its_will_published(target: Target) -> None:
    server = target.new_server()
    with target.client("svc:bootstrap") as reader:
        reader.subscribe(f"lwm2m/{server}/+/event/+")
        will = Will(event(server, "silent"), b"silent", 1)
        with target.client(bridge(server), keep_alive_s=1, will=will) as silent:
            silent.patience_s = WITHIN_S
            assert silent.is_closed()
            assert reader.message().payload == b"silent"


def test_a_second_connection_of_a_client_ends_its_first(target: Target) -> None:
    server = target.new_server()
    with (
        subscriber(target, server) as first,
        target.client(bridge(server), clean=False) as second,
    ):
        assert second.session_present
        assert first.is_closed()
        publish_all(target, server, [b"to the second"])
        assert second.message().payload == b"to the second"


def test_take_over_repeats_what_the_first_connection_left_open(target: Target) -> None:
    server = target.new_server()
    with subscriber(target, server) as first:
        publish_all(target, server, [b"open"])
        first.message(acknowledge=False)
        with target.client(bridge(server), clean=False) as second:
            again = second.message()
            assert again.payload == b"open"
            assert again.duplicate


# ---- nonsense ----


def test_random_bytes_harm_nobody_else(target: Target) -> None:
    chance = random.Random(20_260)
    device = target.new_device()
    with target.client(device) as witness:
        for number in range(20):
            with target.peer(f"noise-{number % 3}") as peer:
                if number % 2:
                    peer.connect(f"noise-{number % 3}")
                peer.socket.sendall(chance.randbytes(chance.randrange(1, 2000)))
        witness.publish(f"devices/{device}/state")
        assert witness.is_served()


def test_half_a_connect_harms_nobody_else(target: Target) -> None:
    device = target.new_device()
    whole = encode(Connect(client_id=device))
    with target.peer(device) as half:
        half.socket.sendall(whole[: len(whole) // 2])
        with target.client(device) as witness:
            assert witness.is_served()
        if target.kind != "mosquitto":  # it waits for a minute and more
            assert half.is_closed()


def test_nothing_may_come_before_connect(target: Target) -> None:
    with target.peer(target.new_device()) as peer:
        peer.send(PingReq())
        assert peer.is_closed()


def test_a_second_connect_ends_the_connection(target: Target) -> None:
    device = target.new_device()
    with target.client(device) as peer:
        peer.send(Connect(client_id=device))
        assert peer.is_closed()


# ---- an independent client ----


def paho_client(target: Target, identity: str) -> paho.Client:
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=identity, protocol=paho.MQTTv311
    )
    certificate, key = target.pki.pair(identity)
    client.tls_set(str(target.pki.ca_file), str(certificate), str(key))
    client.tls_insecure_set(True)  # the certificate names localhost, the address is 127.0.0.1
    return client


def test_paho_publishes_and_is_delivered_to(target: Target) -> None:
    device = target.new_device()
    subscribed, complete = threading.Event(), threading.Event()
    received: list[bytes] = []

    def take(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        received.append(message.payload)
        if len(received) == 50:
            complete.set()

    reader, writer = paho_client(target, "svc:ingestion"), paho_client(target, device)
    reader.on_subscribe = lambda *_: subscribed.set()
    reader.on_message = take
    try:
        reader.connect(*target.broker.address)
        reader.subscribe(f"devices/{device}/state", qos=1)
        reader.loop_start()
        assert subscribed.wait(WITHIN_S)
        writer.connect(*target.broker.address)
        writer.loop_start()
        for number in range(50):
            writer.publish(f"devices/{device}/state", b"%d" % number, qos=1)
        assert complete.wait(WITHIN_S)
    finally:
        for client in (reader, writer):
            client.disconnect()
            client.loop_stop()
    assert received == [b"%d" % number for number in range(50)]


def test_the_page_lists_the_known_differences() -> None:
    page = Path(ROOT / "docs/design/broker.md").read_text()
    for kind, differences in KNOWN_DIFFERENCES.items():
        for name in differences:
            assert f"`{name}`" in page, (kind, name)
