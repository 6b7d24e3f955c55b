"""OpenSSL as `cryptography` brings it: the functions that TLS needs, checked when it is imported.

The standard library's `ssl` is bound to the OpenSSL of the system; that of Debian 12 takes three
times the CPU for a handshake with certificates. `cryptography` is pinned.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding

from mqtt.tls.errors import MissingBinding

_NEEDED: Final = (
    "ASN1_GENERALIZEDTIME_free",
    "ASN1_STRING_get0_data",
    "ASN1_STRING_length",
    "ASN1_STRING_to_UTF8",
    "ASN1_TIME_to_generalizedtime",
    "BIO_free",
    "BIO_get_mem_data",
    "BIO_new",
    "BIO_new_mem_buf",
    "BIO_read",
    "BIO_s_mem",
    "BIO_write",
    "ERR_clear_error",
    "ERR_get_error",
    "ERR_reason_error_string",
    "EVP_PKEY_free",
    "EVP_get_digestbyname",
    "OBJ_obj2nid",
    "OBJ_txt2nid",
    "OPENSSL_free",
    "SSL_CTX_add_extra_chain_cert",
    "SSL_CTX_free",
    "SSL_CTX_get_cert_store",
    "SSL_CTX_new",
    "SSL_CTX_set_cipher_list",
    "SSL_CTX_set_max_proto_version",
    "SSL_CTX_set_min_proto_version",
    "SSL_CTX_set_mode",
    "SSL_CTX_set_options",
    "SSL_CTX_set_session_cache_mode",
    "SSL_CTX_set_session_id_context",
    "SSL_CTX_set_verify",
    "SSL_CTX_use_PrivateKey",
    "SSL_CTX_use_certificate",
    "SSL_SESSION_free",
    "SSL_do_handshake",
    "SSL_free",
    "SSL_get0_param",
    "SSL_get1_session",
    "SSL_get_error",
    "SSL_get_peer_certificate",
    "SSL_get_verify_result",
    "SSL_get_version",
    "SSL_new",
    "SSL_read",
    "SSL_session_reused",
    "SSL_set_accept_state",
    "SSL_set_bio",
    "SSL_set_cert_cb",
    "SSL_set_connect_state",
    "SSL_set_session",
    "SSL_set_shutdown",
    "SSL_set_tlsext_host_name",
    "SSL_shutdown",
    "SSL_use_PrivateKey",
    "SSL_use_certificate",
    "SSL_write",
    "TLS_client_method",
    "TLS_server_method",
    "X509_NAME_ENTRY_get_data",
    "X509_NAME_ENTRY_get_object",
    "X509_NAME_entry_count",
    "X509_NAME_get_entry",
    "X509_STORE_add_cert",
    "X509_VERIFY_PARAM_set1_host",
    "X509_VERIFY_PARAM_set1_ip",
    "X509_VERIFY_PARAM_set_hostflags",
    "X509_digest",
    "X509_free",
    "X509_get_subject_name",
    "X509_getm_notAfter",
    "X509_up_ref",
    "X509_verify_cert_error_string",
    "d2i_PrivateKey_bio",
    "d2i_X509_bio",
    "i2d_X509_bio",
)
# `SSL_MODE_NO_AUTO_CHAIN` of openssl/ssl.h, which has no name in the bindings: an end shows the
# chain that it was given. Else OpenSSL looks for one among its anchors, and verifies it, at each
# handshake; and it shows the anchor too, which the other side has or does not believe.
MODE_NO_AUTO_CHAIN: Final = 0x8
BUFFER_BYTES: Final = 65_536


def require(lib: object, names: tuple[str, ...]) -> None:
    """Raise `MissingBinding` unless `lib` has every name."""
    missing = [name for name in names if not hasattr(lib, name)]
    if missing:
        raise MissingBinding(missing)


lib: Any = Binding.lib
ffi: Any = Binding.ffi
require(lib, _NEEDED)

# One for all: no call into OpenSSL returns while another fills it, for TLS runs on the loop's
# thread alone.
buffer: Final = ffi.new("unsigned char[]", BUFFER_BYTES)
view: Final = ffi.buffer(buffer)


def read_bio(bio: Any) -> bytes:
    """Everything that waits in a memory BIO."""
    count = lib.BIO_read(bio, buffer, BUFFER_BYTES)
    if count < BUFFER_BYTES:
        return view[:count] if count > 0 else b""
    pieces = []
    while count > 0:
        pieces.append(view[:count])
        count = lib.BIO_read(bio, buffer, BUFFER_BYTES)
    return b"".join(pieces)


def load_certificate(der: bytes) -> Any:
    """An X509 object, freed with its Python reference; None when the bytes are no certificate."""
    return _load(lib.d2i_X509_bio, lib.X509_free, der)


def load_private_key(der: bytes) -> Any:
    """An EVP_PKEY object, freed with its Python reference; None when the bytes are no key."""
    return _load(lib.d2i_PrivateKey_bio, lib.EVP_PKEY_free, der)


def take_error() -> str:
    """The text of OpenSSL's newest error, empty where it has none; the queue is emptied."""
    newest = 0
    while code := lib.ERR_get_error():
        newest = code
    text = lib.ERR_reason_error_string(newest) if newest else ffi.NULL
    return "" if text == ffi.NULL else ffi.string(text).decode()


def _load(read: Any, free: Any, der: bytes) -> Any:
    bio = lib.BIO_new_mem_buf(der, len(der))
    try:
        loaded = read(bio, ffi.NULL)
    finally:
        lib.BIO_free(bio)
    if loaded == ffi.NULL:
        lib.ERR_clear_error()
        return None
    return ffi.gc(loaded, free)
