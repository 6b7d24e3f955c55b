"""What can go wrong with TLS: ours, what we were given, and the other side.

TlsError
├── MissingBinding       the installed cryptography lacks an OpenSSL function
├── UnusableCredentials  a certificate, key or anchor of ours that cannot be used
└── TlsFailed            the other side broke TLS, or is not trusted
"""

from __future__ import annotations

from collections.abc import Sequence


class TlsError(Exception):
    """Base of the errors of this package. None of them holds a secret."""


class MissingBinding(TlsError, ImportError):
    """The installed `cryptography` does not offer OpenSSL functions that TLS needs."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "TLS needs OpenSSL functions that the installed cryptography does not offer: "
            f"{', '.join(names)}; install the version that constraints.txt pins"
        )
        self.names = tuple(names)


class UnusableCredentials(TlsError, ValueError):
    """A certificate, key or anchor that cannot be used; the text says which, and shows none."""


class TlsFailed(TlsError):
    """The connection is over: a handshake that failed, an alert, or bytes that are no TLS.

    The text is one of OpenSSL's own, never the other side's. Send `data_to_send` once more: the
    alert that says why is in it.
    """
