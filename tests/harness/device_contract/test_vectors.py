"""The vectors are what the code makes now, and a device that is fed them answers alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from harness.device_contract import (
    COMMAND,
    EXCHANGES,
    FOLDER,
    PAGE,
    DeviceSide,
    Exchange,
    made_files,
    play,
    vectors_table,
)
from harness.device_contract.credentials import FILE_NAME, stored_credentials
from harness.device_contract.site import BOOTSTRAP, BOOTSTRAP_URI, SERVER, SERVER_URI
from harness.lwm2m_server.secret_resources import is_secret
from harness.testing import HandMovedClock
from lwm2m.coap import ACK, CON, Message, decode_message, encode_message
from lwm2m.objects import builtin_models
from lwm2m.transport.tracing import MessageReader

_OTHER_SEED = 4_711
_NETWORK_S = 0.02
_ADDRESSES = {"server": SERVER, "bootstrap_server": BOOTSTRAP}
# What may differ between two devices: message ids, tokens and the numbers of notifications.
_FREE = re.compile(r"\b(?P<type>CON|NON|ACK|RST) [0-9a-f]{4}| token [0-9a-f]+|(?P<o> observe) \d+")


def test_there_is_a_file_for_each_exchange_and_no_other() -> None:
    found = sorted(path.name for path in FOLDER.iterdir())
    names = [f"{each.name}.json" for each in EXCHANGES]
    assert found == sorted([*names, FILE_NAME, "README.md"])


def test_the_vectors_are_what_the_code_makes_now() -> None:
    for name, text in made_files(stored_credentials(FOLDER)).items():
        assert (FOLDER / name).read_text() == text, f"{name} is stale: {COMMAND} writes it"


def test_the_page_lists_them() -> None:
    assert vectors_table() in PAGE.read_text(), f"{COMMAND} writes it"


def meaning_of(step: dict[str, Any]) -> list[str]:
    """What a step says, without what two devices may choose for themselves."""
    headline, *content = step["meaning"]
    plain = _FREE.sub(lambda found: found["type"] or found["o"] or "", headline)
    return [plain.replace("  ", " ").strip(), *content]


class Replay:
    """A device that has other message ids and tokens than the recorded one, fed with its servers'
    bytes; what it sends is in `said`."""

    def __init__(self, exchange: Exchange) -> None:
        self.clock = HandMovedClock()
        self.began_s = self.clock.now_s
        where = {"bootstrap_server": BOOTSTRAP_URI} if exchange.entry else {"server": SERVER_URI}
        settings = {**where, "connects": False, **exchange.settings}
        self.device = DeviceSide(self.clock, _OTHER_SEED, settings)
        self.said: list[dict[str, Any]] = []
        self._reader = MessageReader(builtin_models(), lambda path: is_secret(str(path)))
        # The requests of both devices, in order: (message id, token).
        self._recorded: list[Message] = []
        self._sent: list[Message] = []

    def until(self, at_s: float) -> None:
        """Let time pass."""
        target = self.began_s + at_s
        while self.clock.now_s < target:
            due = min([target, *(t for t in self.device.times() if t is not None)])
            self.clock.advance(max(1e-6, due - self.clock.now_s))
            self.device.fire()
            self.collect()

    def collect(self) -> None:
        """Note what the device sends."""
        for data, peer in self.device.coap.datagrams_to_send():
            told = self._reader.read(data, peer, sent=True)
            self.said.append({"meaning": [told.headline, *told.content]})
            message = decode_message(data)
            if message.type == CON:
                self._sent.append(message)

    def recorded(self, data: bytes) -> None:
        """The recorded device sent this here."""
        message = decode_message(data)
        if message.type == CON:
            self._recorded.append(message)

    def receive(self, data: bytes, sender: str) -> None:
        """One of the servers' datagrams; an answer is given the ids of this device's request."""
        message = decode_message(data)
        if message.type == ACK:
            number = [each.message_id for each in self._recorded].index(message.message_id)
            asked = self._sent[number]
            message = msgspec.structs.replace(
                message, message_id=asked.message_id, token=asked.token
            )
            data = encode_message(message)
        self._reader.read(data, _ADDRESSES[sender], sent=False)
        self.device.receive(data, _ADDRESSES[sender])
        self.collect()


def stored_steps(exchange: Exchange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{exchange.name}.json").read_text())[
        "steps"
    ]
    return found


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda each: each.name)
def test_another_device_that_is_fed_the_vectors_answers_alike(exchange: Exchange) -> None:
    steps = stored_steps(exchange)
    replay = Replay(exchange)
    replay.device.start()
    replay.collect()
    for step in steps:
        data = bytes.fromhex(step["bytes"])
        if step["from"] == "device":
            replay.until(step["at_s"])
            replay.recorded(data)
        else:
            replay.until(step["at_s"] + _NETWORK_S)
            replay.receive(data, step["from"])
    expected = [meaning_of(step) for step in steps if step["from"] == "device"]
    assert [meaning_of(step) for step in replay.said] == expected


def headlines(name: str) -> Iterator[str]:
    (exchange,) = (each for each in EXCHANGES if each.name == name)
    return (step.meaning[0] for step in play(exchange, stored_credentials(FOLDER)))


def test_every_answer_of_the_contracts_table_is_among_the_refusals() -> None:
    answered = [text.split()[2] for text in headlines("refusals") if text.startswith("ACK 7")]
    assert answered == [
        "4.04", "4.04", "4.05", "4.05", "4.05", "4.01", "4.00", "4.00", "4.00", "4.15", "4.06",
        "4.02",
    ]  # fmt: skip


def test_the_certificates_of_the_vectors_are_never_shown_with_their_keys() -> None:
    texts = [" ".join(step["meaning"]) for step in stored_steps(EXCHANGES[3])]
    assert any("/18830/0/9  Secret Key = (secret)" in text for text in texts), texts
    assert repr(stored_credentials(FOLDER)) == "MadeCredentials(…)"
