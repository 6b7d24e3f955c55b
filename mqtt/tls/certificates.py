"""A certificate that the other side has shown, and that OpenSSL has verified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mqtt.tls.bindings import buffer, ffi, lib, read_bio, view

_COMMON_NAME: Final = lib.OBJ_txt2nid(b"commonName")
_SHA256: Final = lib.EVP_get_digestbyname(b"sha256")
_DIGEST_BYTES: Final = 32


class Certificate:
    """What is asked of a peer's certificate; each answer is looked up anew."""

    __slots__ = ("_x509",)

    def __init__(self, x509: Any) -> None:
        self._x509 = x509

    @property
    def common_names(self) -> tuple[str, ...]:
        """The common names in the subject, in their order; those that are no text are left out."""
        return tuple(self._common_names())

    @property
    def sha256(self) -> bytes:
        """The digest of the certificate as a whole (DER)."""
        lib.X509_digest(self._x509, _SHA256, buffer, ffi.NULL)
        return bytes(view[:_DIGEST_BYTES])

    @property
    def not_after(self) -> str:
        """The last second that it is valid, such as `20260331235959Z`; empty when unreadable."""
        # RFC 5280 §4.1.2.5: two forms of time, of which this one sorts by its characters.
        found = lib.ASN1_TIME_to_generalizedtime(lib.X509_getm_notAfter(self._x509), ffi.NULL)
        if found == ffi.NULL:
            lib.ERR_clear_error()
            return ""
        try:
            text = ffi.cast("ASN1_STRING *", found)
            size = lib.ASN1_STRING_length(text)
            return bytes(ffi.buffer(lib.ASN1_STRING_get0_data(text), size)).decode()
        finally:
            lib.ASN1_GENERALIZEDTIME_free(found)

    def der(self) -> bytes:
        """The certificate itself."""
        bio = lib.BIO_new(lib.BIO_s_mem())
        try:
            lib.i2d_X509_bio(bio, self._x509)
            return read_bio(bio)
        finally:
            lib.BIO_free(bio)

    def _common_names(self) -> Iterator[str]:
        subject = lib.X509_get_subject_name(self._x509)
        for index in range(lib.X509_NAME_entry_count(subject)):
            entry = lib.X509_NAME_get_entry(subject, index)
            if lib.OBJ_obj2nid(lib.X509_NAME_ENTRY_get_object(entry)) == _COMMON_NAME:
                yield _text(lib.X509_NAME_ENTRY_get_data(entry))


def peer_certificate(ssl: Any) -> Certificate | None:
    """Who the other side of a connection proved to be; None when it showed nothing."""
    x509 = lib.SSL_get_peer_certificate(ssl)
    return None if x509 == ffi.NULL else Certificate(ffi.gc(x509, lib.X509_free))


def _text(value: Any) -> str:
    made = ffi.new("unsigned char **")
    size = lib.ASN1_STRING_to_UTF8(made, value)
    if size < 0:
        lib.ERR_clear_error()
        return ""
    try:
        return bytes(ffi.buffer(made[0], size)).decode(errors="replace")
    finally:
        lib.OPENSSL_free(made[0])
