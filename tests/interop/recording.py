"""Exchanges with a peer, kept with their meaning: bytes that the default tests replay without it.

A recording is one JSON file, `fixtures/recordings/PEER/NAME.json`; see its README for the form.
Recordings are written only when `LAMPLIGHTER_RECORD` names the folder to write into.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from lwm2m.coap import Message, codes, decode_message, options
from tests.interop.relay import Datagram, Relay

Sender = Literal["device", "server"]


class RecordedOption(msgspec.Struct, frozen=True):
    """One option of a message."""

    number: int
    hex: str


class RecordedMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One datagram and what it means. `at_s` counts from the recording's first datagram."""

    at_s: float
    sender: Sender
    hex: str
    type: str
    code: str
    message_id: int
    token: str = ""
    options: list[RecordedOption] = []
    payload: str = ""
    path: str = ""
    content_format: int | None = None


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange, or a few that belong together. `values` are the peer's own account of what the
    payload says, or what it was told to write: (path, type, value) each."""

    v: int = msgspec.field(default_factory=lambda: VERSION)
    peer: str
    version: str
    role: str
    name: str
    values: list[tuple[str, str, Any]]
    messages: list[RecordedMessage]


VERSION = 1
_TYPES = ("CON", "NON", "ACK", "RST")


class Tape:
    """A relay's datagrams as recordings. The relay's target is the server."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def position(self) -> int:
        """How many datagrams have passed."""
        return len(self._relay.passed())

    def messages(self, after: int) -> list[RecordedMessage]:
        """What passed from datagram number `after` on."""
        passed = self._relay.passed(after)
        began = passed[0].at_s if passed else 0.0
        return [meaning(each, began) for each in passed]


def meaning(datagram: Datagram, began_s: float = 0.0) -> RecordedMessage:
    """What a datagram means."""
    message = decode_message(datagram.data)
    return RecordedMessage(
        at_s=round(datagram.at_s - began_s, 4),
        sender="device" if datagram.direction == "to_target" else "server",
        hex=datagram.data.hex(),
        type=_TYPES[message.type],
        code=codes.code_text(message.code),
        message_id=message.message_id,
        token=message.token.hex(),
        options=[RecordedOption(number, value.hex()) for number, value in message.options],
        payload=message.payload.hex(),
        path=_path(message),
        content_format=_content_format(message),
    )


def _path(message: Message) -> str:
    segments = [value.decode() for number, value in message.options if number == options.URI_PATH]
    return "".join(f"/{segment}" for segment in segments)


def _content_format(message: Message) -> int | None:
    for number, value in message.options:
        if number == options.CONTENT_FORMAT:
            return int.from_bytes(value, "big")
    return None


@contextmanager
def recorded(
    tape: Tape | None, *, peer: str, version: str, role: str, name: str, whole: bool = False
) -> Iterator[list[Any]]:
    """Record what passes meanwhile, when recording is asked for and there is a tape.

    Fill the list with the peer's own account of the values: it goes into the recording. `whole`
    takes what had passed before as well: a registration, that is.
    """
    values: list[Any] = []
    where = os.environ.get("LAMPLIGHTER_RECORD")
    if tape is None or not where:
        yield values
        return
    before = 0 if whole else tape.position()
    yield values
    recording = Recording(
        peer=peer,
        version=version,
        role=role,
        name=name,
        values=[tuple(each) for each in values],
        messages=tape.messages(before),
    )
    write_recording(Path(where), recording)


def write_recording(folder: Path, recording: Recording) -> None:
    """Write one recording to its place, readable: a message a line."""
    file = folder / recording.peer / f"{file_name(recording)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.to_builtins(recording)
    messages = head.pop("messages")
    text = msgspec.json.encode(head).decode().removesuffix("}")
    lines = ",\n  ".join(msgspec.json.encode(each).decode() for each in messages)
    file.write_text(f'{text},\n "messages": [\n  {lines}\n ]}}\n')


def file_name(recording: Recording) -> str:
    """The file's name without its ending."""
    words = f"{recording.role} {recording.name}".lower().replace(",", "")
    return "_".join(words.replace("-", " ").split())


def read_recordings(folder: Path) -> Sequence[Recording]:
    """All recordings in a folder, in order of their files."""
    decoder = msgspec.json.Decoder(Recording)
    return [decoder.decode(file.read_bytes()) for file in sorted(folder.glob("*/*.json"))]
