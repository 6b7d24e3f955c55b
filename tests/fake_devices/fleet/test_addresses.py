"""Peers are worked out from numbers and back, and retransmissions are told from new messages."""

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.fleet.addresses import CountingLink, OwnPeers, SharedPeers

MILLION = 1_000_000


@given(st.integers(0, MILLION - 1), st.integers(0, MILLION))
def test_a_device_is_found_by_its_peer(number, first):
    peers = SharedPeers("127.0.0.1", 5683, MILLION, first)
    assert peers.number_of(peers[number]) == number
    own = OwnPeers("192.0.2.1", 5683, MILLION)
    assert own.number_of(own[number]) == number


def test_more_devices_are_found_again_than_are_kept_in_mind():
    peers = SharedPeers("127.0.0.1", 5683, MILLION)
    asked = [*range(9_000), *range(0, 9_000, 7)]
    assert [peers.number_of(peers[number]) for number in asked] == asked


def test_others_are_no_devices_of_this_fleet():
    peers = SharedPeers("127.0.0.1", 5683, 300)
    strangers = [
        ("127.16.1.1", "127.0.0.2", 5683), ("127.16.1.1", "127.0.0.1", 5684),
        ("127.0.0.1", "127.0.0.1", 5683), ("127.16.1.255", "127.0.0.1", 5683),
        ("127.16.0.1", "127.0.0.1", 5683), ("127.16.3.1", "127.0.0.1", 5683), "peer", None,
    ]  # fmt: skip
    assert [peers.number_of(each) for each in strangers] == [None] * len(strangers)
    assert len(peers) == len(set(peers)) == 300
    assert peers[298:] == [peers[298], peers[299]]


class Beneath:
    """A link that only takes."""

    def __init__(self):
        self.sent = []

    def send(self, datagrams):
        self.sent += datagrams

    def close(self):
        pass


def confirmable(message_id):
    return bytes((0x40, 1, message_id >> 8, message_id & 0xFF))


def test_a_message_id_that_comes_again_to_the_same_peer_is_a_retransmission():
    peers, beneath = SharedPeers("127.0.0.1", 5683, 2), Beneath()
    link = CountingLink(beneath, [], peers)
    other = ("127.16.1.1", "127.0.0.1", 7000)
    link.send([(confirmable(0), peers[0]), (confirmable(0), peers[1]), (confirmable(0), other)])
    assert link.take_counts() == (0, 0)
    link.send([(confirmable(0), peers[0]), (confirmable(1), peers[1]), (confirmable(0), other)])
    link.send([(bytes((0x60, 0x45, 0, 1)), peers[1])])
    assert link.take_counts() == (0, 2)
    assert link.take_counts() == (0, 0)
    assert len(beneath.sent) == 7
