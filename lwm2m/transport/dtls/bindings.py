"""OpenSSL as `cryptography` brings it: the functions that DTLS needs, checked when it is imported.

pyOpenSSL has no pre-shared keys, and its object per connection costs more than a handshake's own
work; so the private bindings under it are used, by these names only. `cryptography` is pinned.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding

from lwm2m.transport.dtls.errors import MissingBinding

_NEEDED = (
    "BIO_ADDR_free",
    "BIO_ADDR_new",
    "BIO_free",
    "BIO_get_mem_data",
    "BIO_new",
    "BIO_new_mem_buf",
    "BIO_read",
    "BIO_s_mem",
    "BIO_set_mem_eof_return",
    "BIO_write",
    "DTLS_method",
    "DTLSv1_listen",
    "ERR_GET_REASON",
    "ERR_clear_error",
    "ERR_get_error",
    "ERR_reason_error_string",
    "EVP_PKEY_free",
    "SSL_CIPHER_get_name",
    "SSL_CTX_add_client_CA",
    "SSL_CTX_add_extra_chain_cert",
    "SSL_CTX_free",
    "SSL_CTX_get_cert_store",
    "SSL_CTX_new",
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set1_sigalgs_list",
    "SSL_CTX_set_cipher_list",
    "SSL_CTX_set_cookie_generate_cb",
    "SSL_CTX_set_cookie_verify_cb",
    "SSL_CTX_set_max_proto_version",
    "SSL_CTX_set_min_proto_version",
    "SSL_CTX_set_mode",
    "SSL_CTX_set_options",
    "SSL_CTX_set_psk_client_callback",
    "SSL_CTX_set_psk_server_callback",
    "SSL_CTX_set_session_cache_mode",
    "SSL_CTX_set_session_id_context",
    "SSL_CTX_set_timeout",
    "SSL_CTX_set_verify",
    "SSL_CTX_use_PrivateKey",
    "SSL_CTX_use_certificate",
    "SSL_SESSION_free",
    "SSL_SESSION_get_master_key",
    "SSL_do_handshake",
    "SSL_free",
    "SSL_get0_param",
    "SSL_get_client_random",
    "SSL_get_current_cipher",
    "SSL_get_error",
    "SSL_get_peer_certificate",
    "SSL_get_server_random",
    "SSL_get_session",
    "SSL_get_verify_result",
    "SSL_new",
    "SSL_session_reused",
    "SSL_set_accept_state",
    "SSL_set_bio",
    "SSL_set_connect_state",
    "SSL_set_mtu",
    "SSL_set_session",
    "SSL_set_tlsext_host_name",
    "SSL_use_PrivateKey",
    "SSL_use_certificate",
    "X509_STORE_add_cert",
    "X509_VERIFY_PARAM_set1_host",
    "X509_VERIFY_PARAM_set1_ip",
    "X509_VERIFY_PARAM_set_time",
    "X509_free",
    "d2i_PrivateKey_bio",
    "d2i_SSL_SESSION",
    "d2i_X509_bio",
    "i2d_SSL_SESSION",
    "i2d_X509_bio",
)
_BUFFER_BYTES = 65_536
RANDOM_BYTES = 32


def load_bindings() -> tuple[Any, Any]:
    """OpenSSL's functions and the cffi object to call them with.

    Raises `MissingBinding` when the installed `cryptography` lacks a function that is needed here.
    """
    lib, ffi = Binding.lib, Binding.ffi
    require(lib, _NEEDED)
    return lib, ffi


def require(lib: object, names: tuple[str, ...]) -> None:
    """Raise `MissingBinding` unless `lib` has every name."""
    missing = [name for name in names if not hasattr(lib, name)]
    if missing:
        raise MissingBinding(missing)


lib, ffi = load_bindings()

# One for all: no call into OpenSSL returns while another fills it (there are no threads here).
_buffer = ffi.new("unsigned char[]", _BUFFER_BYTES)
_view = ffi.buffer(_buffer)
_pointer = ffi.new("unsigned char *[1]")


def read_bio(bio: Any) -> bytes:
    """Everything that waits in a memory BIO."""
    taken = b""
    while (count := lib.BIO_read(bio, _buffer, _BUFFER_BYTES)) > 0:
        taken += _view[:count]
        if count < _BUFFER_BYTES:
            break
    return taken


def read_master_key(ssl: Any) -> bytes:
    """The master secret of a handshake; empty before there is one."""
    session = lib.SSL_get_session(ssl)
    if session == ffi.NULL:
        return b""
    count = lib.SSL_SESSION_get_master_key(session, _buffer, _BUFFER_BYTES)
    return bytes(_view[:count])


def read_randoms(ssl: Any) -> tuple[bytes, bytes]:
    """The client's and the server's random of a handshake."""
    lib.SSL_get_client_random(ssl, _buffer, RANDOM_BYTES)
    client: bytes = _view[:RANDOM_BYTES]
    lib.SSL_get_server_random(ssl, _buffer, RANDOM_BYTES)
    return client, _view[:RANDOM_BYTES]


def session_to_der(ssl: Any) -> bytes:
    """The session of a finished handshake, as OpenSSL writes it for resumption."""
    session = lib.SSL_get_session(ssl)
    if session == ffi.NULL:
        return b""
    size = lib.i2d_SSL_SESSION(session, ffi.NULL)
    if not 0 < size <= _BUFFER_BYTES:
        return b""
    _pointer[0] = _buffer
    lib.i2d_SSL_SESSION(session, _pointer)
    return bytes(_view[:size])


def offer_session(ssl: Any, der: bytes) -> None:
    """Have a client's handshake offer to resume the session, if it can be read."""
    kept = ffi.from_buffer("unsigned char[]", der)
    _pointer[0] = kept
    session = lib.d2i_SSL_SESSION(ffi.NULL, _pointer, len(der))
    if session != ffi.NULL:
        lib.SSL_set_session(ssl, session)
        lib.SSL_SESSION_free(session)


def peer_certificate_der(ssl: Any) -> bytes | None:
    """The peer's certificate in DER, or None when it showed none."""
    certificate = lib.SSL_get_peer_certificate(ssl)
    if certificate == ffi.NULL:
        return None
    bio = lib.BIO_new(lib.BIO_s_mem())
    try:
        lib.i2d_X509_bio(bio, certificate)
        return read_bio(bio)
    finally:
        lib.BIO_free(bio)
        lib.X509_free(certificate)


def load_certificate(der: bytes) -> Any:
    """An X509 object, freed with its Python reference; None when the bytes are no certificate."""
    return _load(lib.d2i_X509_bio, lib.X509_free, der)


def load_private_key(der: bytes) -> Any:
    """An EVP_PKEY object, freed with its Python reference; None when the bytes are no key."""
    return _load(lib.d2i_PrivateKey_bio, lib.EVP_PKEY_free, der)


def _load(read: Any, free: Any, der: bytes) -> Any:
    kept = ffi.from_buffer(der)
    bio = lib.BIO_new_mem_buf(kept, len(der))
    try:
        loaded = read(bio, ffi.NULL)
    finally:
        lib.BIO_free(bio)
    if loaded == ffi.NULL:
        lib.ERR_clear_error()
        return None
    return ffi.gc(loaded, free)


def last_error() -> tuple[int, str]:
    """The reason number and text of OpenSSL's newest error; the queue is emptied."""
    newest = 0
    while code := lib.ERR_get_error():
        newest = code
    if not newest:
        return 0, ""
    text = lib.ERR_reason_error_string(newest)
    return lib.ERR_GET_REASON(newest), "" if text == ffi.NULL else ffi.string(text).decode()
