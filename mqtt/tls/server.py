"""What all connections of a server share: its own certificate, and whose it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtt.tls.bindings import MODE_NO_AUTO_CHAIN, ffi, lib
from mqtt.tls.contexts import add_anchors, new_context, show
from mqtt.tls.end import TlsEnd

_SESSION_ID_CONTEXT: Final = b"mqtt"


class ServerContext:
    """A server that asks every client for a certificate of one of its anchors (TLS 1.2 and up).

    `anchors`, and `chain` with the own certificate first, are DER, `key` is PKCS #8. Sessions are
    resumed by tickets, whose keys live as long as the context: nothing is kept of a client.
    Renegotiation is refused. Raises `UnusableCredentials`.
    """

    def __init__(self, *, anchors: Sequence[bytes], chain: Sequence[bytes], key: bytes) -> None:
        context = self._context = new_context(lib.TLS_server_method())
        lib.SSL_CTX_set_min_proto_version(context, lib.TLS1_2_VERSION)
        mode = lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        lib.SSL_CTX_set_verify(context, mode, ffi.NULL)
        lib.SSL_CTX_set_options(context, lib.SSL_OP_CIPHER_SERVER_PREFERENCE)
        lib.SSL_CTX_set_session_id_context(context, _SESSION_ID_CONTEXT, len(_SESSION_ID_CONTEXT))
        lib.SSL_CTX_set_mode(context, MODE_NO_AUTO_CHAIN)
        # A ticket is with the client; a session without one would stay here, 5 KB each.
        lib.SSL_CTX_set_session_cache_mode(context, lib.SSL_SESS_CACHE_OFF)
        add_anchors(context, anchors)
        show(context, chain, key)

    def open(self) -> TlsEnd:
        """The server's end of one connection."""
        ssl = ffi.gc(lib.SSL_new(self._context), lib.SSL_free)
        lib.SSL_set_accept_state(ssl)
        return TlsEnd(ssl)
