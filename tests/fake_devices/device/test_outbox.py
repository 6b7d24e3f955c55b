"""Packs are kept until acknowledged, in order, and never more than allowed."""

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.device import Outbox, Pack


def pack(sequence):
    return Pack("boot", sequence, "state", "topic", 1, False, b"payload")


def test_packs_leave_in_order_and_stay_until_acknowledged():
    outbox = Outbox()
    for sequence in (1, 2, 3):
        assert outbox.add(pack(sequence), 10, "oldest") is None
    assert [outbox.take().sequence, outbox.take().sequence] == [1, 2]
    assert (len(outbox), outbox.waiting, outbox.in_flight) == (3, 1, 2)
    assert outbox.acknowledge("boot", 1).sequence == 1
    assert outbox.acknowledge("boot", 1) is None
    assert outbox.acknowledge("boot", 3) is None, "not sent yet"


def test_a_lost_session_puts_what_was_in_flight_first():
    outbox = Outbox()
    for sequence in (1, 2, 3):
        outbox.add(pack(sequence), 10, "oldest")
    outbox.take()
    outbox.take()
    outbox.lose_session()
    again = [outbox.take() for _ in range(3)]
    assert [(each.sequence, each.attempt) for each in again] == [(1, 2), (2, 2), (3, 1)]


def test_what_was_sent_once_is_never_given_up():
    outbox = Outbox()
    outbox.add(pack(1), 2, "oldest")
    outbox.take()
    outbox.lose_session()
    outbox.add(pack(2), 2, "oldest")
    assert outbox.add(pack(3), 2, "oldest").sequence == 2
    outbox.take()
    outbox.take()
    assert outbox.add(pack(4), 2, "oldest").sequence == 4


@given(st.lists(st.sampled_from(["add", "take", "acknowledge", "lose"]), max_size=60))
def test_every_pack_is_waiting_in_flight_acknowledged_or_given_up(story):
    outbox, made, gone = Outbox(), 0, []
    for step in story:
        if step == "add":
            made += 1
            given_up = outbox.add(pack(made), 5, "oldest")
            gone += [given_up.sequence] if given_up else []
        elif step == "take" and outbox.waiting:
            outbox.take()
        elif step == "acknowledge" and outbox.in_flight:
            first = outbox.packs_in_flight()[0]
            gone.append(outbox.acknowledge(*first.key).sequence)
        elif step == "lose":
            outbox.lose_session()
        assert len(outbox) + len(gone) == made
        assert len(outbox) <= 5
    assert len(set(gone)) == len(gone)
