"""The matrix as a table: which peer in which role is asked for what, in which format, how secured.

A test walks each cell; the page is printed from what came of them (`harness/interop_matrix.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

TEXT, LINK_FORMAT, OPAQUE, CBOR = 0, 40, 42, 60
SENML_JSON, SENML_CBOR = 110, 112
TLV, OMA_JSON, LWM2M_CBOR = 11542, 11543, 11544
NONE, PSK, X509 = "none", "psk", "x509"
OSCORE, TCP, TLS = "oscore", "tcp", "tls"

FORMAT_NAMES = {
    TEXT: "text",
    LINK_FORMAT: "link format",
    OPAQUE: "opaque",
    CBOR: "CBOR",
    SENML_JSON: "SenML JSON",
    SENML_CBOR: "SenML CBOR",
    TLV: "TLV",
    OMA_JSON: "OMA JSON",
    LWM2M_CBOR: "LwM2M CBOR",
}
_SINGLE = (TEXT, CBOR, SENML_JSON, SENML_CBOR, TLV, OMA_JSON, LWM2M_CBOR)
_OPAQUE = (TEXT, OPAQUE, CBOR, SENML_JSON, SENML_CBOR, TLV, OMA_JSON, LWM2M_CBOR)
_MANY = (SENML_JSON, SENML_CBOR, TLV, OMA_JSON, LWM2M_CBOR)
_COMPOSITE = (SENML_JSON, SENML_CBOR, LWM2M_CBOR)
_NO_FORMAT = (None,)


class Cell(NamedTuple):
    """One thing to agree on. `role` is the peer's; `content_format` None where none applies."""

    peer: str
    role: str
    operation: str
    content_format: int | None
    security: str

    @property
    def format_name(self) -> str:
        """The format in words; empty where none applies."""
        return "" if self.content_format is None else FORMAT_NAMES[self.content_format]

    @property
    def name(self) -> str:
        """What a test report calls it."""
        shown = [self.operation, self.format_name, self.security]
        return f"{self.peer} {self.role}: {', '.join(part for part in shown if part)}"


# What any LwM2M peer is asked for, by our device or of it, and the formats that can carry it.
DEVICE_MANAGEMENT: tuple[tuple[str, Sequence[int | None]], ...] = (
    ("register", _NO_FORMAT),
    ("update", _NO_FORMAT),
    ("read resource", _SINGLE),
    ("read resource instance", _SINGLE),
    ("read multiple resource", _MANY),
    ("read instance", _MANY),
    ("read object", _MANY),
    ("read opaque", _OPAQUE),
    ("discover object", (LINK_FORMAT,)),
    ("discover instance", (LINK_FORMAT,)),
    ("discover resource", (LINK_FORMAT,)),
    ("write resource", _SINGLE),
    ("write opaque", _OPAQUE),
    ("write instance, replace", _MANY),
    ("write instance, update", _MANY),
    ("write attributes", _NO_FORMAT),
    ("execute", _NO_FORMAT),
    ("execute with arguments", _NO_FORMAT),
    ("create", _MANY),
    ("delete", _NO_FORMAT),
    ("observe resource, notified", _SINGLE),
    ("observe instance, notified", _MANY),
    ("cancel observation, active", _NO_FORMAT),
    ("cancel observation, by reset", _NO_FORMAT),
    ("read composite", _COMPOSITE),
    ("write composite", _COMPOSITE),
    ("observe composite, notified", _COMPOSITE),
    ("send", _COMPOSITE),
    ("de-register", _NO_FORMAT),
)
BOOTSTRAP: tuple[tuple[str, Sequence[int | None]], ...] = (
    ("bootstrap, then register", (SENML_JSON, SENML_CBOR, TLV)),
    ("bootstrap with discover and delete", (TLV,)),
)


def _cells(
    peer: str,
    role: str,
    rows: Sequence[tuple[str, Sequence[int | None]]],
    securities: Sequence[str],
) -> list[Cell]:
    return [
        Cell(peer, role, operation, content_format, security)
        for security, (operation, formats) in product(securities, rows)
        for content_format in formats
    ]


LESHAN_SERVER = _cells("leshan", "server", DEVICE_MANAGEMENT, (NONE, PSK, X509))
LESHAN_BOOTSTRAP_SERVER = _cells("leshan", "bootstrap server", BOOTSTRAP, (NONE, PSK, X509))
# What a bridge writes to a device that it gives its credentials: LwM2M 1.1 has Create of several
# instances at once, which not everybody takes.
CREDENTIALS: tuple[tuple[str, Sequence[int | None]], ...] = (
    ("create of several instances", _MANY),
    ("credentials, publications in one Create", _NO_FORMAT),
    ("credentials, one by one after a refusal", _NO_FORMAT),
)
LESHAN_CLIENT = _cells("leshan", "client", (*DEVICE_MANAGEMENT, *CREDENTIALS), (NONE, PSK, X509))
LESHAN_BOOTSTRAPPED_CLIENT = _cells(
    "leshan", "client", (("bootstrap, then register", (SENML_CBOR, TLV)),), (NONE, PSK, X509)
)

# libcoap has no LwM2M: its client asks what a server or a device asks, its server is asked in CoAP.
LIBCOAP_CLIENT_OF_SERVER = _cells(
    "libcoap",
    "client",
    (
        ("register", _NO_FORMAT),
        ("register with a version that is refused", _NO_FORMAT),
        ("register block-wise", _NO_FORMAT),
        ("update", _NO_FORMAT),
        ("update of nothing that is registered", _NO_FORMAT),
        ("send", (SENML_JSON, SENML_CBOR)),
        ("de-register", _NO_FORMAT),
    ),
    (NONE, PSK, X509),
)
LIBCOAP_CLIENT_OF_DEVICE = _cells(
    "libcoap",
    "server",
    (
        ("read resource", (TEXT, CBOR, TLV)),
        ("read instance", (SENML_JSON, SENML_CBOR, TLV)),
        ("discover object", (LINK_FORMAT,)),
        ("write resource", (TEXT, CBOR)),
        ("write attributes", _NO_FORMAT),
        ("execute", _NO_FORMAT),
        ("create", (SENML_JSON, TLV)),
        ("delete", _NO_FORMAT),
        ("read composite", (SENML_JSON,)),
        ("write composite", (SENML_JSON,)),
        ("observe resource, notified", (TEXT,)),
    ),
    (NONE,),
)
LIBCOAP_SERVER = _cells(
    "libcoap",
    "CoAP server",
    (
        ("GET", _NO_FORMAT),
        ("GET in blocks", _NO_FORMAT),
        ("PUT in blocks", _NO_FORMAT),
        ("PUT and DELETE", _NO_FORMAT),
        ("separate response", _NO_FORMAT),
        ("observe, notified, cancelled", _NO_FORMAT),
        ("not found", _NO_FORMAT),
        ("critical option refused", _NO_FORMAT),
    ),
    (NONE, PSK),
)
AIOCOAP_CLIENT = _cells(
    "aiocoap",
    "client",
    (
        ("register", _NO_FORMAT),
        ("register block-wise", _NO_FORMAT),
        ("update", _NO_FORMAT),
        ("send", (SENML_JSON, SENML_CBOR)),
        ("read resource", (TEXT, CBOR)),
        ("write resource", (TEXT,)),
        ("discover object", (LINK_FORMAT,)),
        ("execute with arguments", _NO_FORMAT),
        ("observe resource, notified", (TEXT,)),
        ("cancel observation, active", _NO_FORMAT),
        ("read composite", (SENML_CBOR,)),
        ("write composite", (SENML_CBOR,)),
        ("de-register", _NO_FORMAT),
    ),
    (NONE, PSK),
)
AIOCOAP_SERVER = _cells(
    "aiocoap",
    "server",
    (
        ("register", _NO_FORMAT),
        ("update", _NO_FORMAT),
        ("read resource", (TEXT, CBOR)),
        ("read instance", (SENML_JSON, SENML_CBOR, TLV)),
        ("discover object", (LINK_FORMAT,)),
        ("write resource", (TEXT, CBOR)),
        ("write attributes", _NO_FORMAT),
        ("execute", _NO_FORMAT),
        ("create", (SENML_JSON,)),
        ("delete", _NO_FORMAT),
        ("read composite", (SENML_JSON,)),
        ("write composite", (SENML_JSON,)),
        ("observe resource, notified", (TEXT,)),
        ("cancel observation, active", _NO_FORMAT),
    ),
    (NONE, PSK),
)

# Over the transports that have no datagrams, and protected end to end.
AIOCOAP_TRANSPORTS_CLIENT = _cells(
    "aiocoap",
    "client",
    (
        ("register", _NO_FORMAT),
        ("register block-wise", _NO_FORMAT),
        ("update", _NO_FORMAT),
        ("send", (SENML_JSON, SENML_CBOR)),
        ("read resource", (TEXT, CBOR)),
        ("write resource", (TEXT,)),
        ("discover object", (LINK_FORMAT,)),
        ("execute with arguments", _NO_FORMAT),
        ("observe resource, notified", (TEXT,)),
        ("cancel observation, active", _NO_FORMAT),
        ("read composite", (SENML_CBOR,)),
        ("write composite", (SENML_CBOR,)),
        ("observe composite, notified", (SENML_CBOR,)),
        ("de-register", _NO_FORMAT),
    ),
    (OSCORE, TCP, TLS),
)

_CORE = (("requests, blocks, separate responses, observe", _NO_FORMAT),)
AIOCOAP_CORE_CLIENT = _cells("aiocoap", "CoAP client", _CORE, (NONE, OSCORE, TCP, TLS))
AIOCOAP_CORE_SERVER = _cells("aiocoap", "CoAP server", _CORE, (NONE, OSCORE, TCP, TLS))

CELLS = [
    *LESHAN_SERVER,
    *LESHAN_BOOTSTRAP_SERVER,
    *LESHAN_CLIENT,
    *LESHAN_BOOTSTRAPPED_CLIENT,
    *LIBCOAP_CLIENT_OF_SERVER,
    *LIBCOAP_CLIENT_OF_DEVICE,
    *LIBCOAP_SERVER,
    *AIOCOAP_CLIENT,
    *AIOCOAP_SERVER,
    *AIOCOAP_TRANSPORTS_CLIENT,
    *AIOCOAP_CORE_CLIENT,
    *AIOCOAP_CORE_SERVER,
]
