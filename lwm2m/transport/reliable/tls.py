"""TLS for CoAP over TCP (RFC 8323 §8), without sockets: bytes in, bytes out.

Certificates only. Not `asyncio`'s own TLS: there a peer that is still shaking hands is not seen,
and cannot be bounded.
"""

from __future__ import annotations

import ssl
from typing import Final

import msgspec

ALPN: Final = "coap"
_CHUNK_BYTES: Final = 65_536


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files of one side.

    A server has `certificate_file` and `key_file`; with `trusted_file` it asks for the client's
    certificate and refuses those that are not signed by it. A client has `trusted_file`, and the
    other two when the server asks. `server_name` is what the server's certificate has to say
    besides; None asks for no name (LwM2M names servers by certificate, not by host).
    """

    certificate_file: str | None = None
    key_file: str | None = None
    trusted_file: str | None = None
    server_name: str | None = None

    def server_context(self) -> ssl.SSLContext:
        """Raises `OSError` or `ssl.SSLError` for files that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        if self.trusted_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Raises `OSError` or `ssl.SSLError` for files that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.server_name is not None
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([ALPN])
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        if self.trusted_file is not None:
            context.load_verify_locations(self.trusted_file)


class TlsPipe:
    """One TLS session over memory: `receive` ciphertext, `write` plaintext, `take` ciphertext."""

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self.is_established = False

    def start(self) -> None:
        """Begin: a client's first flight is there to take."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take what came; returns the plaintext in it. Raises `ssl.SSLError`."""
        self._incoming.write(data)
        if not self.is_established and not self._shake_hands():
            return b""
        parts: list[bytes] = []
        try:
            while part := self._session.read(_CHUNK_BYTES):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Encrypt; `take` gives the bytes. Raises `ssl.SSLError`."""
        self._session.write(data)

    def take(self) -> bytes:
        """Ciphertext to send."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing follows (close_notify)."""
        try:
            self._session.unwrap()
        except ssl.SSLError:
            # The peer's own close_notify is not there yet, or never comes.
            return

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER; None when it showed none."""
        return self._session.getpeercert(binary_form=True)

    def _shake_hands(self) -> bool:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_established = True
        return True


def certificate_identity(certificate: bytes) -> str | None:
    """Whom a certificate (DER) names, as over DTLS; None when it names nobody, or several."""
    # Here and not above: the DTLS package brings OpenSSL's bindings with it.
    from lwm2m.transport.dtls.certificates import name_of_certificate, read_certificate

    read = read_certificate(certificate)
    return None if read is None else name_of_certificate(read)
