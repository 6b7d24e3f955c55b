"""A port that is kept: nobody is given it, and who is told of it can listen there."""

from __future__ import annotations

import socket

import pytest

from harness.bench.ports import ReservedPort
from runtime.http import PortInUse, bind


def test_who_is_told_of_a_kept_port_listens_there_and_again_after_an_end() -> None:
    kept = ReservedPort()
    for _ in range(2):
        listener = bind("127.0.0.1", kept.port)
        with pytest.raises(PortInUse):
            bind("127.0.0.1", kept.port)
        listener.close()
    kept.release()


def test_a_kept_port_is_given_to_nobody_who_asks_for_any() -> None:
    kept = ReservedPort()
    given = []
    for _ in range(200):
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        given.append(other)
    assert kept.port not in {each.getsockname()[1] for each in given}
    for other in given:
        other.close()
    kept.release()
