"""What a bench and its fork server say to each other: a JSON object a packet."""

from __future__ import annotations

from typing import Final

import msgspec

# Standard input, output and error of a process go along with the request for it.
STREAMS: Final = 3
# Of one packet, either way.
PACKET_BYTES_MAX: Final = 65_536


class Start(msgspec.Struct, frozen=True):
    """Run `python -m module arguments…` on the three descriptors that come along."""

    id: int
    module: str
    arguments: list[str] = []


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """What was asked for runs. A descriptor that stands for the process comes along (pidfd)."""

    id: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """What was asked for has ended, or could not be started; its log says why.

    `returncode` is negative, minus the signal's number, when a signal ended it.
    """

    id: int
    returncode: int


Answer = Forked | Ended


def encode_answer(answer: Answer) -> bytes:
    """One packet."""
    return msgspec.json.encode(answer)


def decode_answer(packet: bytes) -> Answer:
    """What a packet says. Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(packet, type=Forked | Ended)
