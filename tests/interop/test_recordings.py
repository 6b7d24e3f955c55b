"""What peers once sent and were sent, replayed: no peer is needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lwm2m.coap import Message, codes, decode_message, encode_message
from lwm2m.codecs import SUPPORTED, decode_payload
from lwm2m.objects import ObjectLink, ObjectPath, Value, builtin_models
from tests.interop.recording import (
    RecordedMessage,
    Recording,
    file_name,
    meaning,
    read_recordings,
    write_recording,
)
from tests.interop.relay import Datagram
from tests.interop.replayed import ReplayedDevice, server_answers

FOLDER = Path(__file__).parents[2] / "fixtures" / "recordings"
RECORDINGS = read_recordings(FOLDER)
MODELS = builtin_models()
# What reading these gives does not depend on what went before or on the time.
CONSTANT = ("/3/0/0", "/1/0/0", "/1/0/6", "/6/0/0", "/3/0/11/0")
_SEND_PATH = "/dp"
_COMPOSITE = ("0.05", "0.07")


def _name(recording: Recording) -> str:
    return f"{recording.peer}/{file_name(recording)}"


def _of_role(*roles: str) -> list[Recording]:
    return [each for each in RECORDINGS if each.role in roles]


@pytest.mark.parametrize("recording", RECORDINGS, ids=_name)
def test_every_datagram_is_read_as_it_was_and_written_the_same(recording: Recording) -> None:
    for message in recording.messages:
        data = bytes.fromhex(message.hex)
        if message.sender == "device":
            datagram = Datagram(message.at_s, "to_target", data)
        else:
            datagram = Datagram(message.at_s, "from_target", data)
        assert meaning(datagram) == message
        assert encode_message(decode_message(data)) == data


@pytest.mark.parametrize("recording", [each for each in RECORDINGS if each.values], ids=_name)
def test_our_decoders_read_what_the_peer_told(recording: Recording) -> None:
    found = {(str(path), _plain(value)) for path, value in _decoded(recording.messages)}
    missing = [each for each in recording.values if (each[0], _told(each)) not in found]
    assert not missing


def _decoded(messages: list[RecordedMessage]) -> Iterator[tuple[ObjectPath, Value]]:
    requests: dict[str, RecordedMessage] = {}
    for message in messages:
        if message.code.startswith("0.") and message.token:
            requests[message.token] = message
        if not message.payload or message.content_format not in SUPPORTED:
            continue
        if message.code.startswith(("4.", "5.")):
            continue  # words about an error
        asked = requests.get(message.token)
        if asked is None:
            continue  # a notification of an observation that began before the recording
        if message is asked and message.code == "0.05":
            continue  # the paths of a Read-Composite: no values
        payload = bytes.fromhex(message.payload)
        yield from decode_payload(message.content_format, _base(asked), payload, MODELS)


def _base(asked: RecordedMessage) -> ObjectPath | None:
    if asked.path in ("", _SEND_PATH) or asked.code in _COMPOSITE:
        return None
    return ObjectPath.parse(asked.path)


def _plain(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, ObjectLink):
        return f"{value.object_id}:{value.instance_id}"
    return value


def _told(triple: tuple[str, str, Any]) -> Any:
    _, kind, value = triple
    return int(value) if kind == "unsigned" else value


@pytest.mark.parametrize("recording", _of_role("server"), ids=_name)
def test_our_device_still_answers_the_peers_requests_as_it_did(recording: Recording) -> None:
    answers = ReplayedDevice().answers(recording.messages)
    for request, recorded in _exchanges(recording.messages, "server"):
        answer = answers[request.message_id]
        assert codes.code_text(answer.code) == recorded.code, request
        if request.path in CONSTANT and request.code == "0.01" and not _observes(request):
            assert answer.payload.hex() == recorded.payload, request


@pytest.mark.parametrize("recording", _of_role("client"), ids=_name)
def test_our_server_still_answers_the_peers_registration(
    recording: Recording, tmp_path: Path
) -> None:
    """Only what comes first is told apart from what went before it."""
    exchanges = _exchanges(recording.messages, "device")
    first = next(iter(exchanges), None)
    if first is None or first[0].path != "/rd":
        return
    answers = server_answers(tmp_path, recording.messages)
    assert codes.code_text(answers[first[0].message_id].code) == first[1].code


def _exchanges(
    messages: list[RecordedMessage], asker: str
) -> list[tuple[RecordedMessage, RecordedMessage]]:
    """Each request of one side with the acknowledgement that answered it."""
    answers = {
        message.message_id: message
        for message in messages
        if message.sender != asker and message.type == "ACK" and message.code != "0.00"
    }
    return [
        (message, answers[message.message_id])
        for message in messages
        if message.sender == asker
        and message.code.startswith("0.")
        and message.code != "0.00"
        and message.message_id in answers
    ]


def _observes(message: RecordedMessage) -> bool:
    return any(option.number == 6 for option in message.options)


def test_a_recording_is_written_and_read_back(tmp_path: Path) -> None:
    data = encode_message(Message(0, codes.POST, 7, b"t", ((11, b"rd"),), b"</1/0>"))
    message = meaning(Datagram(0.25, "to_target", data))
    recording = Recording(
        peer="somebody",
        version="1",
        role="client",
        name="register, once",
        values=[("/3/0/0", "string", "x")],
        messages=[message],
    )
    write_recording(tmp_path, recording)
    assert (tmp_path / "somebody" / "client_register_once.json").exists()
    assert read_recordings(tmp_path) == [recording]
