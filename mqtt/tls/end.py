"""One end of a TLS connection over memory buffers, client's or server's: bytes in, bytes out."""

from __future__ import annotations

from typing import Any, Final

from mqtt.tls.bindings import BUFFER_BYTES, buffer, ffi, lib, read_bio, take_error, view
from mqtt.tls.certificates import Certificate, peer_certificate
from mqtt.tls.errors import TlsFailed

# Bound here: a call through cffi costs half a microsecond, and its look-up a fifth of that.
_bio_pending, _bio_write = lib.BIO_get_mem_data, lib.BIO_write
_clear_errors, _ssl_read, _ssl_write = lib.ERR_clear_error, lib.SSL_read, lib.SSL_write
_WANT_READ: Final = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Final = lib.SSL_ERROR_ZERO_RETURN
_where: Final = ffi.new("char **")


class TlsEnd:
    """One end. Feed `receive`, write with `send`, and take `data_to_send` after each.

    `is_established` once both sides are who they must be; `is_closed_by_peer` once the other side
    has said that nothing follows (close_notify).
    """

    __slots__ = ("_into", "_is_settled", "_out", "_ssl", "is_closed_by_peer", "is_established")

    def __init__(self, ssl: Any) -> None:
        self._ssl = ssl
        self.is_established = self.is_closed_by_peer = self._is_settled = False
        self._into: Any
        self._out: Any
        self._renew_buffers()

    @property
    def is_resumed(self) -> bool:
        """Whether this goes on with an earlier session; only after `is_established`."""
        return bool(lib.SSL_session_reused(self._ssl))

    @property
    def version(self) -> str:
        """The protocol's version, such as `TLSv1.3`; only after `is_established`."""
        found: str = ffi.string(lib.SSL_get_version(self._ssl)).decode()
        return found

    def peer_certificate(self) -> Certificate | None:
        """Who the other side proved to be; None when it showed nothing."""
        return peer_certificate(self._ssl)

    def receive(self, data: bytes) -> bytes:
        """Plain bytes that came out of `data`. Raises `TlsFailed`.

        Where none came out, there may be something to send: an answer of the handshake, of TLS
        1.3's change of keys, or to who asks for other parameters and gets none.
        """
        into = self._into
        _bio_write(into, data, len(data))
        if not self.is_established:
            self.shake_hands()
            if not self.is_established:
                return b""
        # OpenSSL gives one record at a time. Whether there are more is seen by what is left in the
        # buffer: a call that finds nothing costs as much as one that does.
        plain = self._read()
        if _bio_pending(into, _where):
            pieces = [plain]
            # Nothing comes out where a record is not whole yet, and behind a close_notify.
            while plain and _bio_pending(into, _where):
                plain = self._read()
                pieces.append(plain)
            plain = b"".join(pieces)
        if len(data) > BUFFER_BYTES and not _bio_pending(into, _where):
            self._into = lib.BIO_new(lib.BIO_s_mem())
            lib.SSL_set_bio(self._ssl, self._into, self._out)
        return plain

    def send(self, plain: bytes) -> None:
        """Encrypt `plain`; only after `is_established`. Raises `TlsFailed`."""
        if plain and _ssl_write(self._ssl, plain, len(plain)) <= 0:
            raise TlsFailed(f"TLS failed: {self._flaw()}")

    def data_to_send(self) -> bytes:
        """Bytes for the other side since the last call."""
        data = read_bio(self._out)
        if len(data) > BUFFER_BYTES:
            self._out = lib.BIO_new(lib.BIO_s_mem())
            lib.SSL_set_bio(self._ssl, self._into, self._out)
        if not self._is_settled and self.is_established:
            self._is_settled = True
            self._settle()
        return data

    def close(self) -> None:
        """Write close_notify, when there is a session to close."""
        if self.is_established and lib.SSL_shutdown(self._ssl) < 0:
            lib.ERR_clear_error()

    def shake_hands(self) -> None:
        """Go on with the handshake as far as what has come allows. Raises `TlsFailed`."""
        done = lib.SSL_do_handshake(self._ssl)
        if done == 1:
            self._check_peer()
            self.is_established = True
        elif lib.SSL_get_error(self._ssl, done) != _WANT_READ:
            raise TlsFailed(f"TLS handshake failed: {self._flaw()}")

    def _check_peer(self) -> None:
        """Whether the peer is whom it must be. Raises `TlsFailed`."""

    def _read(self) -> bytes:
        # An error that somebody else left behind would be taken for one of this connection.
        _clear_errors()
        count = _ssl_read(self._ssl, buffer, BUFFER_BYTES)
        if count > 0:
            plain: bytes = view[:count]
            return plain
        error = lib.SSL_get_error(self._ssl, count)
        if error == _ZERO_RETURN:
            self.is_closed_by_peer = True
        elif error != _WANT_READ:
            raise TlsFailed(f"TLS failed: {self._flaw()}")
        return b""

    def _settle(self) -> None:
        """The handshake is over, and both memory buffers are empty: what was to be sent has just
        been taken, and `receive` reads until there is no more. They have grown to the flights of
        the handshake, and would keep 2.4 KB for as long as the connection lives."""
        self._renew_buffers()

    def _renew_buffers(self) -> None:
        """Give the connection new memory buffers: one that has grown does not shrink."""
        self._into, self._out = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
        # OpenSSL frees the old ones.
        lib.SSL_set_bio(self._ssl, self._into, self._out)

    def _flaw(self) -> str:
        reason = take_error() or "the connection ended"
        verified = lib.SSL_get_verify_result(self._ssl)
        if reason == "certificate verify failed" and verified:
            reason = f"{reason}: {self._objection(verified)}"
        return reason

    def _objection(self, verified: int) -> str:
        """What is wrong with the peer's certificate, by OpenSSL's number."""
        text: str = ffi.string(lib.X509_verify_cert_error_string(verified)).decode()
        return text
