"""The client's session: its table of states, its window, its repetitions, its timer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt import (
    ClientConnection,
    ConnectionAccepted,
    ConnectionFailed,
    ConnectionRefused,
    InboundMessage,
    PublishAcknowledged,
    QueueFull,
    SubscriptionsAnswered,
    UnsubscriptionAcknowledged,
)
from mqtt.connection import QUEUE_MAX_LIMIT, TRANSITIONS, Input, State, WrongState
from mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Parser,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)


def sent(session: ClientConnection) -> list[Packet]:
    return Parser(1_000_000).receive_bytes(session.data_to_send())


def connected(session: ClientConnection, now: float = 0.0) -> list[Packet]:
    """Connect and resume; returns what that sent after CONNECT."""
    session.connect(now)
    assert isinstance(sent(session)[0], Connect)
    assert session.receive_bytes(encode(ConnAck(False, 0))) == [ConnectionAccepted(False)]
    session.resume()
    return sent(session)


def reconnected(session: ClientConnection) -> list[Packet]:
    session.closed()
    return connected(session)


# ---- the table ----


def in_state(state: State) -> ClientConnection:
    session = ClientConnection("c")
    if state is not State.DISCONNECTED:
        session.connect(0.0)
    if state is State.CONNECTED:
        session.receive_bytes(encode(ConnAck(False, 0)))
    if state is State.ENDED:
        session.receive_bytes(encode(ConnAck(False, 5)))
    assert session.state is state
    return session


INPUTS = {
    Input.CONNECT_SENT: lambda session: session.connect(0.0),
    Input.ACCEPTED: lambda session: session.receive_bytes(encode(ConnAck(False, 0))),
    Input.REFUSED: lambda session: session.receive_bytes(encode(ConnAck(False, 5))),
    Input.FAILED: lambda session: session.receive_bytes(b"\0"),
    Input.DISCONNECT_SENT: lambda session: session.disconnect(),
    Input.CLOSED: lambda session: session.closed(),
}
FROM_BROKER = frozenset({Input.ACCEPTED, Input.REFUSED, Input.FAILED})


@pytest.mark.parametrize(
    ("state", "by"), list(itertools.product(State, Input)), ids=lambda value: value.value
)
def test_every_cell_of_the_table_is_walked(state: State, by: Input) -> None:
    session = in_state(state)
    wanted = TRANSITIONS[state].get(by)
    if wanted is not None:
        INPUTS[by](session)
        assert session.state is wanted
    elif by not in FROM_BROKER:
        with pytest.raises(WrongState):
            INPUTS[by](session)
        assert session.state is state
    else:
        # What a broker sends out of turn ends a connection that is one, and is no error of ours.
        INPUTS[by](session)
        assert session.state is (State.ENDED if state is State.CONNECTED else state)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "refused: protocol version not supported"),
        (2, "refused: bad client id"),
        (3, "refused: server unavailable"),
        (4, "refused: bad user name or password"),
        (5, "refused: bad identity"),
        (9, "refused: code 9"),
    ],
)
def test_a_refusal_says_why(code: int, reason: str) -> None:
    session = in_state(State.CONNECTING)
    assert session.receive_bytes(encode(ConnAck(False, code))) == [ConnectionRefused(code, reason)]
    assert session.next_timer() is None


@pytest.mark.parametrize(
    "packet",
    [
        ConnAck(False, 0),
        Connect(client_id="c"),
        Publish("t", b"", 2, 1),
        Subscribe(1, (("a", 0),)),
        PingReq(),
        Disconnect(),
        SubAck(77, (0,)),
    ],
)
def test_what_a_broker_may_not_send_ends_the_connection(packet: Packet) -> None:
    session = in_state(State.CONNECTED)
    (event,) = session.receive_bytes(encode(packet))
    assert isinstance(event, ConnectionFailed)
    assert event.reason.startswith("protocol error")
    assert session.receive_bytes(encode(PingResp())) == []


def test_a_message_before_connack_ends_the_connection() -> None:
    session = in_state(State.CONNECTING)
    (event,) = session.receive_bytes(encode(Publish("t", b"")))
    assert isinstance(event, ConnectionFailed)


def test_packets_before_a_flaw_still_count() -> None:
    session = ClientConnection("c")
    connected(session)
    packet_id = session.publish("t", b"")
    first, second = session.receive_bytes(encode(PubAck(packet_id)) + b"\xff\x00")
    assert first == PublishAcknowledged(packet_id)
    assert isinstance(second, ConnectionFailed)


# ---- outbound ----


def test_messages_are_pipelined_up_to_the_window_and_the_rest_follows_acknowledgements() -> None:
    session = ClientConnection("c", inflight_max=2, queue_max=10)
    connected(session)
    ids = [session.publish("t", bytes((n,))) for n in range(4)]
    assert sent(session) == [Publish("t", b"\0", 1, ids[0]), Publish("t", b"\1", 1, ids[1])]
    # Out of order is allowed (AWS IoT Core does it).
    assert session.receive_bytes(encode(PubAck(ids[1]))) == [PublishAcknowledged(ids[1])]
    assert sent(session) == [Publish("t", b"\2", 1, ids[2])]
    assert session.outstanding == 3


def test_an_acknowledgement_of_something_unknown_changes_nothing() -> None:
    session = ClientConnection("c", inflight_max=1, queue_max=10)
    connected(session)
    first, waiting = session.publish("t", b"1"), session.publish("t", b"2")
    assert session.receive_bytes(encode(PubAck(999)) + encode(PubAck(waiting))) == []
    assert session.outstanding == 2
    session.receive_bytes(encode(PubAck(first)) * 2)
    sent(session)
    assert session.receive_bytes(encode(PubAck(waiting))) == [PublishAcknowledged(waiting)]
    assert session.outstanding == 0


def test_what_was_not_acknowledged_is_sent_again_with_dup_and_the_rest_after_it() -> None:
    session = ClientConnection("c", inflight_max=2, queue_max=10)
    connected(session)
    ids = [session.publish("t", bytes((n,))) for n in range(3)]
    sent(session)
    assert reconnected(session) == [
        Publish("t", b"\0", 1, ids[0], duplicate=True),
        Publish("t", b"\1", 1, ids[1], duplicate=True),
    ]
    session.receive_bytes(encode(PubAck(ids[0])))
    assert sent(session) == [Publish("t", b"\2", 1, ids[2])]


def test_messages_published_while_disconnected_go_out_without_dup_once_resumed() -> None:
    session = ClientConnection("c")
    first = session.publish("t", b"1")
    session.connect(0.0)
    sent(session)
    session.receive_bytes(encode(ConnAck(False, 0)))
    second = session.publish("t", b"2")
    assert sent(session) == []  # subscriptions come first
    session.resume()
    assert sent(session) == [Publish("t", b"1", 1, first), Publish("t", b"2", 1, second)]


def test_the_queue_is_bounded_and_says_so() -> None:
    session = ClientConnection("c", inflight_max=2, queue_max=3)
    for _ in range(3):
        session.publish("t", b"")
    with pytest.raises(QueueFull, match="3 messages"):
        session.publish("t", b"")
    assert session.outstanding == 3


@pytest.mark.parametrize("fields", [(0, 5), (6, 5), (5, QUEUE_MAX_LIMIT + 1)])
def test_impossible_windows_are_refused(fields: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="inflight_max"):
        ClientConnection("c", inflight_max=fields[0], queue_max=fields[1])


def test_qos_0_needs_a_connection_and_qos_2_is_not_spoken() -> None:
    session = ClientConnection("c")
    with pytest.raises(WrongState):
        session.publish("t", b"", qos=0)
    with pytest.raises(ValueError, match="QoS 2"):
        session.publish("t", b"", qos=2)
    connected(session)
    assert session.publish("t", b"x", qos=0) == 0
    assert sent(session) == [Publish("t", b"x")]
    assert session.outstanding == 0


@pytest.mark.slow
def test_packet_ids_wrap_around_past_those_in_use() -> None:
    session = ClientConnection("c", inflight_max=1_000)
    connected(session)
    kept = session.publish("t", b"kept")
    for _ in range(65_534):
        session.receive_bytes(encode(PubAck(session.publish("t", b""))))
    assert session.publish("t", b"") == kept + 1
    assert session.outstanding == 2


# ---- inbound ----


def delivered(session: ClientConnection, *packets: Packet) -> list[InboundMessage]:
    events = session.receive_bytes(b"".join(map(encode, packets)))
    return [event for event in events if isinstance(event, InboundMessage)]


def test_acknowledgements_leave_in_the_order_of_receipt() -> None:
    session = ClientConnection("c")
    connected(session)
    one, two, three = delivered(session, *(Publish("t", b"", 1, n) for n in (7, 5, 6)))
    session.acknowledge(two)
    session.acknowledge(three)
    assert sent(session) == []  # MQTT-4.6.0-2
    session.acknowledge(one)
    assert sent(session) == [PubAck(7), PubAck(5), PubAck(6)]
    session.acknowledge(one)
    assert sent(session) == []


def test_a_message_of_an_earlier_connection_is_not_acknowledged() -> None:
    session = ClientConnection("c", clean_session=False)
    connected(session)
    (old,) = delivered(session, Publish("t", b"old", 1, 7))
    reconnected(session)
    (other,) = delivered(session, Publish("t", b"other", 1, 7))
    session.acknowledge(old)
    assert sent(session) == []
    session.acknowledge(other)
    assert sent(session) == [PubAck(7)]


def test_a_message_repeated_on_the_same_connection_is_acknowledged_once() -> None:
    session = ClientConnection("c")
    connected(session)
    first, again = delivered(
        session, Publish("t", b"", 1, 7), Publish("t", b"", 1, 7, duplicate=True)
    )
    assert again.duplicate
    session.acknowledge(first)
    session.acknowledge(again)
    assert sent(session) == [PubAck(7)]


def test_messages_of_qos_0_need_no_acknowledgement() -> None:
    session = ClientConnection("c")
    connected(session)
    (message,) = delivered(session, Publish("t", b"x", retain=True))
    assert (message.topic, message.payload, message.retain) == ("t", b"x", True)
    session.acknowledge(message)
    assert sent(session) == []


# ---- subscriptions ----


def test_refused_filters_are_named() -> None:
    session = ClientConnection("c")
    connected(session)
    packet_id = session.subscribe([("a/+", 1), ("#", 1)])
    assert sent(session) == [Subscribe(packet_id, (("a/+", 1), ("#", 1)))]
    assert session.receive_bytes(encode(SubAck(packet_id, (1, 0x80)))) == [
        SubscriptionsAnswered(packet_id, ("#",))
    ]


def test_a_suback_with_too_few_codes_ends_the_connection() -> None:
    session = ClientConnection("c")
    connected(session)
    packet_id = session.subscribe([("a", 1), ("b", 1)])
    (event,) = session.receive_bytes(encode(SubAck(packet_id, (1,))))
    assert isinstance(event, ConnectionFailed)


def test_filters_are_given_up() -> None:
    session = ClientConnection("c")
    connected(session)
    packet_id = session.unsubscribe(["a"])
    assert sent(session) == [Unsubscribe(packet_id, ("a",))]
    assert session.receive_bytes(encode(UnsubAck(packet_id)) * 2) == [
        UnsubscriptionAcknowledged(packet_id)
    ]


def test_nothing_is_asked_while_disconnected() -> None:
    session = ClientConnection("c")
    for ask in (lambda: session.subscribe([("a", 1)]), lambda: session.unsubscribe(["a"])):
        with pytest.raises(WrongState):
            ask()


# ---- time ----


def test_a_broker_that_never_answers_connect_is_given_up() -> None:
    session = ClientConnection("c", connect_timeout_s=5)
    session.connect(100.0)
    assert session.next_timer() == 105.0
    assert session.handle_timer(104.9) == []
    assert session.handle_timer(105.0) == [ConnectionFailed("no CONNACK within 5 s")]


def test_silence_of_ours_is_broken_within_the_keep_alive() -> None:
    session = ClientConnection("c", keep_alive_s=60)
    connected(session)
    last_sent, now = 0.0, 0.0
    publish_at = 35.0
    while now < 600:
        due = session.next_timer()
        assert due is not None
        if now < publish_at <= due:
            session.publish("t", b"")
            sent(session)
            last_sent = publish_at
        now = due
        assert session.handle_timer(now) == []
        if sent(session) == [PingReq()]:
            last_sent = now
            session.receive_bytes(encode(PingResp()))
        assert now - last_sent <= 60


def test_a_busy_client_sends_no_pings() -> None:
    session = ClientConnection("c", keep_alive_s=60)
    connected(session)
    for now in (30.0, 60.0, 90.0):
        session.publish("t", b"")
        session.handle_timer(now)
        assert PingReq() not in sent(session)


def test_a_broker_that_answers_no_ping_is_given_up() -> None:
    session = ClientConnection("c", keep_alive_s=60)
    connected(session)
    session.handle_timer(30.0)  # CONNECT was sent in this period
    session.handle_timer(60.0)
    assert sent(session) == [PingReq()]
    (event,) = session.handle_timer(90.0)
    assert isinstance(event, ConnectionFailed)
    assert session.state is State.ENDED


def test_keep_alive_0_means_none() -> None:
    session = ClientConnection("c", keep_alive_s=0)
    connected(session)
    assert session.next_timer() is None


def test_good_bye_is_said() -> None:
    session = ClientConnection("c")
    connected(session)
    session.disconnect()
    assert sent(session) == [Disconnect()]
    assert session.next_timer() is None


# ---- all together ----


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(("publish", "acknowledge", "cut")), max_size=60),
)
def test_whatever_happens_every_message_arrives_in_order_and_is_told_once(
    window: int, steps: list[str]
) -> None:
    session = ClientConnection("c", inflight_max=window, queue_max=100)
    unacknowledged: list[int] = []
    first_seen: list[bytes] = []
    told: list[int] = []
    published: list[int] = []

    def take(packets: list[Packet]) -> None:
        for packet in packets:
            assert isinstance(packet, Publish)
            assert packet.duplicate == (packet.payload in first_seen)
            if not packet.duplicate:
                first_seen.append(packet.payload)
            unacknowledged.append(packet.packet_id)
        assert len(set(unacknowledged)) <= window

    take(connected(session))
    for step in [*steps, *["acknowledge"] * 100]:
        if step == "publish":
            published.append(session.publish("t", str(len(published)).encode()))
            take(sent(session))
        elif step == "acknowledge" and unacknowledged:
            events = session.receive_bytes(encode(PubAck(unacknowledged.pop(0))))
            told += [event.packet_id for event in events if isinstance(event, PublishAcknowledged)]
            take(sent(session))
        elif step == "cut":
            unacknowledged.clear()
            take(reconnected(session))
    assert first_seen == [str(n).encode() for n in range(len(published))]
    assert sorted(told) == sorted(published)
    assert session.outstanding == 0


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_noise_from_a_broker_never_raises(chunks: list[bytes]) -> None:
    session = in_state(State.CONNECTED)
    for chunk in chunks:
        session.receive_bytes(chunk)
