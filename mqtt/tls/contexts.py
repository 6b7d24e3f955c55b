"""What contexts of both sides are made of: cipher suites, anchors, the own chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mqtt.tls.bindings import ffi, lib, load_certificate, load_private_key
from mqtt.tls.errors import UnusableCredentials

# TLS 1.2's suites with forward secrecy, none by SHA-1; TLS 1.3's are as OpenSSL orders them.
_SUITES: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:DHE+AESGCM:DHE+AES:!aNULL:!aDSS:!SHA1"


def new_context(method: Any) -> Any:
    """An SSL_CTX, freed with its last Python reference."""
    context = ffi.gc(lib.SSL_CTX_new(method), lib.SSL_CTX_free)
    lib.SSL_CTX_set_cipher_list(context, _SUITES)
    options = lib.SSL_OP_NO_COMPRESSION | lib.SSL_OP_NO_RENEGOTIATION
    lib.SSL_CTX_set_options(context, options)
    # Buffers of 34 KB a connection are there while something passes, and no longer.
    lib.SSL_CTX_set_mode(context, lib.SSL_MODE_RELEASE_BUFFERS)
    return context


def add_anchors(context: Any, anchors: Sequence[bytes]) -> None:
    """Trust certificates (DER) that one of these signed. Raises `UnusableCredentials`."""
    store = lib.SSL_CTX_get_cert_store(context)
    for der in anchors:
        anchor = load_certificate(der)
        if anchor is None:
            raise UnusableCredentials("a CA certificate is no DER certificate")
        lib.X509_STORE_add_cert(store, anchor)


def show(context: Any, chain: Sequence[bytes], key: bytes) -> None:
    """Have every connection show this chain (DER, own certificate first), and prove it by the key.

    Raises `UnusableCredentials`.
    """
    certificates = [load_certificate(der) for der in chain]
    if not certificates or None in certificates:
        raise UnusableCredentials("the own certificate, or one of its chain, cannot be read")
    private_key = load_private_key(key)
    if private_key is None:
        raise UnusableCredentials("the key cannot be read")
    own, *others = certificates
    if lib.SSL_CTX_use_certificate(context, own) != 1:
        lib.ERR_clear_error()
        raise UnusableCredentials("OpenSSL does not take the own certificate")
    if lib.SSL_CTX_use_PrivateKey(context, private_key) != 1:
        lib.ERR_clear_error()
        raise UnusableCredentials("the key is not the certificate's")
    for certificate in others:
        # The context takes this reference over.
        lib.X509_up_ref(certificate)
        lib.SSL_CTX_add_extra_chain_cert(context, certificate)
