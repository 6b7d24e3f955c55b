"""What either side proves itself with. No repr of these shows a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lwm2m.transport.dtls.certificates import name_of_certificate
from lwm2m.transport.dtls.errors import UnusableCredentials

if TYPE_CHECKING:
    from cryptography import x509

IDENTITY_BYTES_MAX = 128
KEY_BYTES_MAX = 64

KeyOf = Callable[[str], tuple[str | None, bytes] | None]
"""The (endpoint name that it is bound to, pre-shared key) of a PSK identity; None: unknown."""


class PskCredentials(msgspec.Struct, frozen=True):
    """A client's pre-shared key: identity up to 128 bytes of UTF-8, key of 1 to 64 bytes
    (LwM2M Transport §5.2.9, RFC 4279 §5.3). Raises `UnusableCredentials`.
    """

    identity: str
    key: bytes

    def __post_init__(self) -> None:
        encoded = self.identity.encode()
        if not encoded or len(encoded) > IDENTITY_BYTES_MAX or b"\0" in encoded:
            raise UnusableCredentials(
                f"a PSK identity has 1 to {IDENTITY_BYTES_MAX} bytes and none of them zero"
            )
        check_key(self.key)

    def __repr__(self) -> str:
        return f"PskCredentials({self.identity!r})"


class X509Credentials(msgspec.Struct, frozen=True):
    """A client's certificate and key, and what it takes for its server. All in DER.

    The chain begins with the client's own certificate. The server's is accepted when it passes
    every check that is given, and at least one must be: `trust_anchors` (its chain must end at
    one, it must be valid now and meant for servers), `server_key` (its certificate or its
    SubjectPublicKeyInfo is this one: LwM2M's Server Public Key, /0/x/4). With trust anchors,
    `server_name` is the host name or address that it must be made for. A host name is also sent as
    SNI. Raises `UnusableCredentials`.
    """

    certificate_chain: tuple[bytes, ...]
    private_key: bytes
    trust_anchors: tuple[bytes, ...] = ()
    server_name: str | None = None
    server_key: bytes | None = None

    def __post_init__(self) -> None:
        if not self.certificate_chain:
            raise UnusableCredentials("a client needs a certificate")
        if not self.trust_anchors and not self.server_key:
            raise UnusableCredentials("neither trust anchors nor a server key: any server would do")

    def __repr__(self) -> str:
        return (
            f"X509Credentials({len(self.certificate_chain)} certificates, "
            f"{len(self.trust_anchors)} trust anchors, server_name={self.server_name!r})"
        )


class ServerCredentials(msgspec.Struct, frozen=True):
    """What a server proves itself with and whom it lets in; PSK, X.509 or both. All in DER.

    `key_of` answers PSK identities. With a certificate chain (its own first) and trust anchors,
    clients with certificates are let in whose chain ends at an anchor; `name_of` gives the endpoint
    name of a client's certificate, None refuses it. Raises `UnusableCredentials`.
    """

    key_of: KeyOf | None = None
    certificate_chain: tuple[bytes, ...] = ()
    private_key: bytes = b""
    trust_anchors: tuple[bytes, ...] = ()
    name_of: Callable[[x509.Certificate], str | None] = name_of_certificate

    def __post_init__(self) -> None:
        if self.key_of is None and not self.certificate_chain:
            raise UnusableCredentials("a server needs pre-shared keys, a certificate, or both")
        if self.certificate_chain and not (self.private_key and self.trust_anchors):
            raise UnusableCredentials("a server's certificate needs its key and trust anchors")

    def __repr__(self) -> str:
        return (
            f"ServerCredentials(psk={self.key_of is not None}, x509={bool(self.certificate_chain)})"
        )


def check_key(key: bytes) -> None:
    """Raise `UnusableCredentials` unless it can be a pre-shared key."""
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise UnusableCredentials(f"a pre-shared key has 1 to {KEY_BYTES_MAX} bytes")
