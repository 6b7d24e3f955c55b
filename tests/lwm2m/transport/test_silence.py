"""A server that answers nothing is told of, once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from lwm2m.transport.link import Link
from lwm2m.transport.silence import noting_silence
from lwm2m.transport.tracing import Receive, unwrapped

SERVER = ("127.16.1.1", "127.0.0.1", 9)
OTHER = ("127.16.1.1", "127.0.0.1", 10)


class RecordingLink:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Hashable]] = []
        self.is_closed = False

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        self.sent += datagrams

    def close(self) -> None:
        self.is_closed = True


class Watched:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.passed: list[tuple[bytes, Hashable]] = []
        self.plain = RecordingLink()
        receive, wrap_link = noting_silence(unwrapped, self.told.append)(self.passed.extend)
        self.receive: Receive = receive
        self.link: Link = wrap_link(self.plain)


def test_the_third_time_is_told_and_no_further_one() -> None:
    watched = Watched()
    for _ in range(5):
        watched.link.send([(b"register", SERVER)])
    assert watched.told == ["nothing answers at 127.0.0.1:9 yet; trying again"]
    assert watched.plain.sent == [(b"register", SERVER)] * 5


def test_other_messages_are_no_retransmissions() -> None:
    watched = Watched()
    for number in range(5):
        watched.link.send([(bytes([number]), SERVER)])
    assert watched.told == []


def test_who_was_heard_is_not_silent() -> None:
    watched = Watched()
    watched.link.send([(b"register", SERVER)])
    watched.receive([(b"created", SERVER)])
    for _ in range(5):
        watched.link.send([(b"update", SERVER)])
    assert watched.told == []
    assert watched.passed == [(b"created", SERVER)]


def test_each_server_is_told_of_for_itself() -> None:
    watched = Watched()
    for _ in range(3):
        watched.link.send([(b"register", SERVER), (b"register", OTHER)])
    assert [text.split()[3] for text in watched.told] == ["127.0.0.1:9", "127.0.0.1:10"]


def test_what_is_kept_is_bounded_and_closing_closes() -> None:
    watched = Watched()
    peers = [("127.0.0.1", port) for port in range(1, 1_000)]
    for _ in range(2):
        watched.link.send([(b"a", peer) for peer in peers])
    watched.link.send([(b"a", peer) for peer in peers])
    assert len(watched.told) == 256
    watched.link.close()
    assert watched.plain.is_closed
