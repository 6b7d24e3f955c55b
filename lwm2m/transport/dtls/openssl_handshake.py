"""One handshake: OpenSSL makes the messages, this sends and repeats them (RFC 6347 §4.2.4).

OpenSSL's own timer runs by the wall clock; here time is an argument. So its flights are taken as
records, numbered here, and repeated here with fresh record numbers; what OpenSSL repeats by itself
is dropped. When it is done, its keys go into a `Channel` and it is freed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lwm2m.transport.dtls.bindings import (
    RANDOM_BYTES,
    ffi,
    last_error,
    lib,
    peer_certificate_der,
    read_bio,
    read_master_key,
    read_randoms,
    session_to_der,
)
from lwm2m.transport.dtls.channel import Channel, LastFlight
from lwm2m.transport.dtls.contexts import ClientContext, PskAnswer, ServerContext
from lwm2m.transport.dtls.failures import DECRYPT_ERROR, failure_reason
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.hellos import ClientHello
from lwm2m.transport.dtls.protection import MasterSecrets, Protection
from lwm2m.transport.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    DTLS_1_2,
    EPOCH_0,
    EPOCH_1,
    FATAL,
    FINISHED_RECORD_BYTES_MAX,
    HANDSHAKE,
    HANDSHAKE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    encode_alert,
    encode_record,
    pack_datagrams,
    renumber_record,
    split_records,
)
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import BY_OPENSSL_NAME, SUITES, CipherSuite

# Where a handshake record has its message's number and the fragment's offset.
_PLACE = slice(RECORD_HEADER_BYTES + 4, RECORD_HEADER_BYTES + 9)
# Where a ServerHello has its session id, after version and random (RFC 5246 §7.4.1.3).
_SESSION_ID = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + 2 + RANDOM_BYTES
_CBC_NUMBERS = frozenset(suite.number for suite in SUITES.values() if suite.cipher == "cbc")
_CLIENT, _SERVER = 0, 1
# OpenSSL has one object per suite: its place says which it is, without asking for the name.
_suites_by_place: dict[Any, CipherSuite] = {}


class OpensslHandshake(Handshake):
    """A handshake of either side whose messages OpenSSL makes and reads."""

    __slots__ = (
        "_context",
        "_flight",
        "_incoming",
        "_is_server",
        "_outgoing",
        "_protections",
        "_random_bytes",
        "_sent_change_cipher_spec",
        "_sent_finished",
        "_sent_up_to",
        "ssl",
    )

    def __init__(
        self,
        context: ServerContext | ClientContext,
        settings: DtlsSettings,
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        is_server = isinstance(context, ServerContext)
        super().__init__(settings, PskAnswer() if is_server else None, now)
        self._context = context
        self._random_bytes = random_bytes
        self._is_server = is_server
        self.ssl = ffi.gc(lib.SSL_new(context.ssl_context), lib.SSL_free)
        self._incoming = lib.BIO_new(lib.BIO_s_mem())
        self._outgoing = lib.BIO_new(lib.BIO_s_mem())
        # Nothing to read means later, not the end.
        lib.BIO_set_mem_eof_return(self._incoming, -1)
        lib.SSL_set_bio(self.ssl, self._incoming, self._outgoing)
        lib.SSL_set_mtu(self.ssl, settings.datagram_bytes_max)
        (lib.SSL_set_accept_state if is_server else lib.SSL_set_connect_state)(self.ssl)
        # As OpenSSL wrote them.
        self._flight: list[bytes] = []
        self._sent_up_to = b""
        self._sent_change_cipher_spec = self._sent_finished = False
        self._protections: list[tuple[Protection, Protection]] = []

    def start(self, now: float) -> None:
        """Client: make the first ClientHello."""
        self._drive(b"", now)

    def accept(self, record: bytes, hello: ClientHello, now: float) -> bool:
        """Server: go on from a ClientHello whose cookie is ours; False when OpenSSL refuses it."""
        # RFC 6347 §4.2.2: the ServerHello goes on from the ClientHello's record number.
        self._sequences[0] = hello.record_sequence
        lib.BIO_write(self._incoming, record, len(record))
        client = lib.BIO_ADDR_new()
        lib.ERR_clear_error()
        listening = lib.DTLSv1_listen(self.ssl, client)
        lib.BIO_ADDR_free(client)
        if listening != 1:
            last_error()
            return False
        self._drive(b"", now)
        return True

    def receive(self, records: list[bytes], now: float) -> None:
        """See `Handshake.receive`."""
        taken: list[bytes] = []
        finished: list[bytes] = []
        for record in records:
            epoch = record[3:5]
            if epoch == EPOCH_0:
                if record[0] != APPLICATION_DATA:
                    taken.append(record)
            elif epoch == EPOCH_1 and record[0] != HANDSHAKE:
                self._hold(record)
            elif epoch == EPOCH_1 and len(record) <= FINISHED_RECORD_BYTES_MAX:
                finished.append(record)
        if self._is_server and finished:
            self._receive_finished(taken, finished, now)
        elif taken or finished:
            self._drive_under_way(taken + finished, now)

    def peer_certificate(self) -> bytes | None:
        """See `Handshake.peer_certificate`."""
        return peer_certificate_der(self.ssl)

    def session_der(self) -> bytes:
        """See `Handshake.session_der`."""
        return session_to_der(self.ssl) if self._context.has_tickets else b""

    def close(self) -> None:
        """See `Handshake.close`: OpenSSL keeps tens of kilobytes for it."""
        if self.ssl is not None:
            ffi.release(self.ssl)
            self.ssl = None
        self._protections = []

    def _receive_finished(self, taken: list[bytes], finished: list[bytes], now: float) -> None:
        """Take a client's Finished, and tell it when it is not made with the key that we have.

        OpenSSL drops such a one without a word, or with CBC says that the MAC is wrong; so CBC is
        looked into before.
        """
        if self._is_cbc_agreed():
            self._drive_under_way(taken, now)
            to_drive = finished
        else:
            self._drive_under_way(taken + finished, now)
            to_drive = []
        if self.state == "under_way" and self._is_wrong(finished[-1]):
            self._refuse_finished()
        else:
            self._drive_under_way(to_drive, now)

    def _drive_under_way(self, records: list[bytes], now: float) -> None:
        if records and self.state == "under_way":
            self._drive(b"".join(records), now)

    def _drive(self, data: bytes, now: float) -> None:
        if data:
            lib.BIO_write(self._incoming, data, len(data))
        context: Any = self._context
        context.current = self.psk
        lib.ERR_clear_error()
        result = lib.SSL_do_handshake(self.ssl)
        context.current = None
        self._collect(read_bio(self._outgoing), now)
        if result == 1:
            self._complete()
        elif lib.SSL_get_error(self.ssl, result) != lib.SSL_ERROR_WANT_READ:
            verify_result = lib.SSL_get_verify_result(self.ssl)
            self._fail(failure_reason(*last_error(), verify_result))
        if isinstance(context, ServerContext):
            context.raise_pending()

    def _collect(self, output: bytes, now: float) -> None:
        """Make a flight of what OpenSSL wrote, less what it repeated; alerts go out at once."""
        fresh = []
        for record in split_records(output):
            if record[0] == ALERT:
                self._unsent.append(self._number(record))
            elif self._is_fresh(record):
                fresh.append(record)
        if fresh:
            self.last_progress = now
            self._flight = fresh
            self._timeout_s = self._settings.retransmit_timeout_s
            self.repeat(now)

    def _is_fresh(self, record: bytes) -> bool:
        if record[0] == CHANGE_CIPHER_SPEC:
            was_sent, self._sent_change_cipher_spec = self._sent_change_cipher_spec, True
            return not was_sent
        if record[4]:
            # Of a handshake's messages only Finished is protected.
            was_sent, self._sent_finished = self._sent_finished, True
            return not was_sent
        # Message number and fragment offset, as they stand in the header: they compare as numbers.
        place = record[_PLACE]
        if place <= self._sent_up_to:
            return False
        self._sent_up_to = place
        return True

    def _transmit(self) -> bool:
        records = [self._number(record) for record in self._flight]
        self._unsent += pack_datagrams(records, self._settings.datagram_bytes_max)
        return bool(records)

    def _number(self, record: bytes) -> bytes:
        """One of OpenSSL's records with the next number of ours, which is mostly its own."""
        epoch = record[4]
        sequence = self._sequences[epoch]
        self._sequences[epoch] = sequence + 1
        renumbered = renumber_record(record, sequence)
        if not epoch or renumbered == record:
            return renumbered
        own = self._own_side()
        content = self._open(record, own)
        # OpenSSL protected it with the keys that it told us.
        assert content is not None, "our own record can be opened"
        return self._protections[0][own].seal(record[0], sequence, content)

    def _own_side(self) -> int:
        return _SERVER if self._is_server else _CLIENT

    def _open(self, record: bytes, side: int) -> bytes | None:
        """Open a record of `side`, by which it shows how CBC is done; None: it cannot be opened."""
        if not self._protections:
            self._protections = self._derive()
        for pair in self._protections:
            content = pair[side].open(record)
            if content is not None:
                self._protections = [pair]
                return content
        return None

    def _derive(self) -> list[tuple[Protection, Protection]]:
        """The keys of both sides; twice for CBC, where MAC and encryption have two orders."""
        suite = self._suite()
        master = read_master_key(self.ssl)
        if suite is None or not master:
            return []
        secrets = MasterSecrets(master, *read_randoms(self.ssl))
        orders = (True, False) if suite.cipher == "cbc" else (True,)
        return [
            secrets.protections(suite.cipher, self._random_bytes, encrypt_then_mac=order)
            for order in orders
        ]

    def _is_cbc_agreed(self) -> bool:
        """By the server's own ServerHello: OpenSSL tells the suite only later."""
        hello = self._flight[0] if self._flight else b""
        start = _SESSION_ID + 1 + hello[_SESSION_ID] if len(hello) > _SESSION_ID else 0
        return int.from_bytes(hello[start : start + 2], "big") in _CBC_NUMBERS

    def _suite(self) -> CipherSuite | None:
        """The suite that was agreed on; None before."""
        cipher = lib.SSL_get_current_cipher(self.ssl)
        suite = _suites_by_place.get(cipher)
        if suite is None and cipher != ffi.NULL:
            suite = BY_OPENSSL_NAME[ffi.string(lib.SSL_CIPHER_get_name(cipher)).decode()]
            _suites_by_place[cipher] = suite
        return suite

    def _chosen_protections(self) -> tuple[Protection, Protection] | None:
        """The keys of a complete handshake."""
        if not self._protections:
            self._protections = self._derive()
        if len(self._protections) > 1:
            # Our own Finished shows which order it is.
            for record in self._flight:
                if record[4]:
                    self._open(record, self._own_side())
        return self._protections[0] if self._protections else None

    def _is_wrong(self, finished: bytes) -> bool:
        """Whether a client's Finished is not made with the keys that its identity has."""
        # Without keys it came too early to tell.
        return self._open(finished, _CLIENT) is None and bool(self._protections)

    def _refuse_finished(self) -> None:
        """End the handshake of a client that has another key than we have.

        OpenSSL would drop its Finished without a word (RFC 6347 §4.1.2.7) and the client would wait
        for long; RFC 4279 §2 has it told, and the same for an identity that is unknown.
        """
        psk = self.psk
        reason = "decrypt_error"
        if isinstance(psk, PskAnswer) and psk.identity is not None:
            reason = "wrong_key" if psk.is_known else "unknown_identity"
        alert = encode_record(ALERT, DTLS_1_2, 0, 0, encode_alert(FATAL, DECRYPT_ERROR))
        self._unsent.append(self._number(alert))
        self._fail(reason)

    def _complete(self) -> None:
        self.is_resumed = bool(lib.SSL_session_reused(self.ssl))
        pair = self._chosen_protections()
        if pair is None:
            self._fail("protocol_error")
            return
        read, write = (pair[_CLIENT], pair[_SERVER]) if self._is_server else pair[::-1]
        channel = Channel(read, write, self._sequences[1])
        # The side that ends the handshake hears nothing more of it (RFC 6347 §4.2.4): the server,
        # or in a resumption the client.
        if self._is_server != self.is_resumed:
            channel.keep_last_flight(
                LastFlight(self._flight, self._sequences[0], self._settings.datagram_bytes_max)
            )
        self.channel = channel
        self.state = "complete"
