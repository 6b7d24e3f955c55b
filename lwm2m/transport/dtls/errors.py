"""What goes wrong on our own side of DTLS. The other side's faults are counted, never raised."""

from __future__ import annotations

from collections.abc import Sequence

from lwm2m.errors import LwM2mError


class DtlsError(LwM2mError):
    """Base of the errors of this package."""


class MissingBinding(DtlsError, ImportError):
    """The installed `cryptography` does not offer OpenSSL functions that DTLS needs."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "DTLS needs OpenSSL functions that the installed cryptography does not offer: "
            f"{', '.join(names)}; install the version that constraints.txt pins"
        )
        self.names = tuple(names)


class UnusableCredentials(DtlsError, ValueError):
    """Keys, certificates or cipher suites of the caller that cannot be used; holds no secret."""
