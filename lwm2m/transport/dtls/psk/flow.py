"""What both sides of a handshake with a pre-shared key do alike: records, transcript, Finished."""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from lwm2m.transport.dtls.channel import Channel, LastFlight
from lwm2m.transport.dtls.contexts import PskAnswer
from lwm2m.transport.dtls.credentials import PskCredentials
from lwm2m.transport.dtls.failures import (
    CLOSE_NOTIFY,
    DECODE_ERROR,
    DECRYPT_ERROR,
    UNEXPECTED_MESSAGE,
    alert_reason,
)
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.protection import MasterSecrets, Protection
from lwm2m.transport.dtls.psk.messages import (
    HELLO_REQUEST,
    VERIFY_DATA_BYTES,
    MessageReader,
    encode_message,
    premaster_secret,
)
from lwm2m.transport.dtls.records import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    DTLS_1_2,
    EPOCH_0,
    EPOCH_1,
    FATAL,
    FINISHED,
    FINISHED_RECORD_BYTES_MAX,
    HANDSHAKE,
    HANDSHAKE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    encode_alert,
    encode_record,
    pack_datagrams,
)
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import CipherSuite

_CHANGE = b"\x01"
_CLIENT_FINISHED, _SERVER_FINISHED = b"client finished", b"server finished"
_LAST_BYTES = HANDSHAKE_HEADER_BYTES + VERIFY_DATA_BYTES

Handlers = Mapping[str, Mapping[int, str]]


class PskHandshake(Handshake):
    """A handshake whose messages are made here. `HANDLERS` is what is taken when.

    A message that is not in the table ends the handshake (RFC 5246 §7.4).
    """

    __slots__ = (
        "_awaited",
        "_finished",
        "_flight",
        "_has_encrypt_then_mac",
        "_has_extended_master_secret",
        "_last_flight",
        "_random_bytes",
        "_randoms",
        "_read",
        "_reader",
        "_secrets",
        "_send_sequence",
        "_session_hash",
        "_suite",
        "_transcript",
        "_write",
    )

    HANDLERS: ClassVar[Handlers]
    IS_SERVER: ClassVar[bool]

    def __init__(
        self,
        settings: DtlsSettings,
        random_bytes: Callable[[int], bytes],
        psk: PskAnswer | PskCredentials,
        now: float,
    ) -> None:
        super().__init__(settings, psk, now)
        self._random_bytes = random_bytes
        # Content type, epoch and content of each record.
        self._flight: list[tuple[int, int, bytes]] = []
        # The records of the flight as they were sent last.
        self._last_flight: list[bytes] = []
        self._transcript = hashlib.sha256()
        self._reader = MessageReader(0)
        self._send_sequence = 0
        self._awaited = "hello"
        self._suite: CipherSuite | None = None
        self._randoms = b"", b""
        self._has_extended_master_secret = self._has_encrypt_then_mac = False
        # Of everything up to the ClientKeyExchange.
        self._session_hash = b""
        self._secrets: MasterSecrets | None = None
        self._read: Protection | None = None
        self._write: Protection | None = None
        # The other side's, when it came before what it ends.
        self._finished: bytes | None = None

    def receive(self, records: list[bytes], now: float) -> None:
        """See `Handshake.receive`."""
        for record in records:
            content_type = record[0]
            if record[3:5] != EPOCH_0:
                self._receive_protected(record, now)
            elif self.state != "under_way":
                break
            elif content_type == HANDSHAKE:
                self._receive_messages(record[RECORD_HEADER_BYTES:], now)
            elif content_type == ALERT:
                self._receive_alert(record[RECORD_HEADER_BYTES:])
            # A ChangeCipherSpec says no more than the epoch of the Finished behind it does.

    def _receive_protected(self, record: bytes, now: float) -> None:
        if record[3:5] != EPOCH_1:
            return  # there is no second handshake on a session
        if record[0] != HANDSHAKE or self.state != "under_way":
            self._hold(record)
        elif len(record) <= FINISHED_RECORD_BYTES_MAX:
            self._finished = record
            self._receive_finished(now)

    def close(self) -> None:
        """See `Handshake.close`."""
        self._secrets = self._read = self._write = None

    @abstractmethod
    def _refuse_finished(self) -> None:
        """The other side's Finished is not made with our keys."""

    @abstractmethod
    def _take_finished(self, message: bytes, now: float) -> None:
        """The other side's Finished is right; go on."""

    def _receive_messages(self, content: bytes, now: float) -> None:
        for message in self._reader.read(content):
            if self.state != "under_way":
                return
            if message[0] == HELLO_REQUEST:
                continue  # RFC 5246 §7.4.1.1: ignored while negotiating, and never hashed
            handler = self.HANDLERS[self._awaited].get(message[0])
            if handler is None:
                self._end("unexpected_message", UNEXPECTED_MESSAGE)
            else:
                self.last_progress = now
                getattr(self, handler)(message, message[HANDSHAKE_HEADER_BYTES:], now)
        if self._finished is not None and self.state == "under_way":
            self._receive_finished(now)

    def _receive_alert(self, content: bytes) -> None:
        if len(content) == 2 and (content[0] == FATAL or content[1] == CLOSE_NOTIFY):
            self._fail(alert_reason(content[1]))

    def _receive_finished(self, now: float) -> None:
        """Take the protected Finished, once everything before it is there."""
        if self._awaited != "finished" or self._read is None or self._finished is None:
            return
        record, self._finished = self._finished, None
        content = self._read.open(record)
        if content is None:
            self._refuse_finished()
            return
        messages = self._reader.read(content)
        if not messages:
            return  # a part of it, or an old one
        (message, *more) = messages
        if more or message[0] != FINISHED or len(message) != _LAST_BYTES:
            self._end("unexpected_message", UNEXPECTED_MESSAGE)
        elif not hmac.compare_digest(
            message[HANDSHAKE_HEADER_BYTES:], self._verify_data(by_server=not self.IS_SERVER)
        ):
            self._end("decrypt_error", DECRYPT_ERROR)
        else:
            self._take_finished(message, now)

    def _verify_data(self, *, by_server: bool) -> bytes:
        assert self._secrets is not None, "there are keys before there is a Finished"
        if by_server:
            seed = _SERVER_FINISHED + self._transcript.digest()
        else:
            seed = _CLIENT_FINISHED + self._session_hash
        return self._secrets.expand(seed, VERIFY_DATA_BYTES)

    def _derive(self, key: bytes, shared: bytes | None = None) -> None:
        """Keys for both directions from the pre-shared key; the transcript ends with the
        ClientKeyExchange now (RFC 7627 §4).
        """
        assert self._suite is not None, "a suite was agreed on"
        self._session_hash = self._transcript.digest()
        self._secrets = MasterSecrets.from_premaster(
            premaster_secret(key, shared),
            *self._randoms,
            session_hash=self._session_hash if self._has_extended_master_secret else None,
        )
        client, server = self._secrets.protections(
            self._suite.cipher, self._random_bytes, encrypt_then_mac=self._has_encrypt_then_mac
        )
        self._read, self._write = (client, server) if self.IS_SERVER else (server, client)

    def _message(self, message_type: int, body: bytes) -> tuple[int, int, bytes]:
        """The next message of ours, worked into the transcript."""
        made = encode_message(message_type, self._send_sequence, body)
        self._send_sequence += 1
        self._transcript.update(made)
        return HANDSHAKE, 0, made

    def _ending(self) -> list[tuple[int, int, bytes]]:
        """ChangeCipherSpec and our Finished."""
        made = self._verify_data(by_server=self.IS_SERVER)
        _, _, finished = self._message(FINISHED, made)
        return [(CHANGE_CIPHER_SPEC, 0, _CHANGE), (HANDSHAKE, 1, finished)]

    def _send(self, flight: list[tuple[int, int, bytes]], now: float) -> None:
        self._flight = flight
        self._timeout_s = self._settings.retransmit_timeout_s
        self.repeat(now)

    def _transmit(self) -> bool:
        records: list[bytes] = []
        for content_type, epoch, content in self._flight:
            sequence = self._sequences[epoch]
            self._sequences[epoch] = sequence + 1
            if not epoch:
                records.append(encode_record(content_type, DTLS_1_2, 0, sequence, content))
            elif self._write is not None:
                records.append(self._write.seal(content_type, sequence, content))
        self._last_flight = records
        self._unsent += pack_datagrams(records, self._settings.datagram_bytes_max)
        return bool(records)

    def _complete(self) -> None:
        assert self._read is not None, "a handshake ends with keys"
        assert self._write is not None, "of both directions"
        self.channel = Channel(self._read, self._write, self._sequences[1])
        if self.IS_SERVER:
            # It ended the handshake, and hears nothing more of it (RFC 6347 §4.2.4).
            size = self._settings.datagram_bytes_max
            self.channel.keep_last_flight(LastFlight(self._last_flight, self._sequences[0], size))
        self.state = "complete"

    def _end(self, reason: str, description: int) -> None:
        """Fail, with a fatal alert to the other side."""
        alert = encode_alert(FATAL, description)
        self._unsent.append(encode_record(ALERT, DTLS_1_2, 0, self._sequences[0], alert))
        self._sequences[0] += 1
        self._fail(reason)

    def _end_malformed(self) -> None:
        self._end("decode_error", DECODE_ERROR)
