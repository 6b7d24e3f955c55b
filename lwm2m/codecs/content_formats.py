"""The CoAP content-format numbers that LwM2M uses (IANA registry; LwM2M Core §7.5)."""

from __future__ import annotations

TEXT = 0
LINK_FORMAT = 40
OCTET_STREAM = 42
CBOR = 60
SENML_JSON = 110
SENML_CBOR = 112
PKCS7_CERTIFICATES = 281
CSR_ATTRIBUTES = 285
PKCS10 = 286
SENML_ETCH_JSON = 320
SENML_ETCH_CBOR = 322
TLV = 11542
OMA_JSON = 11543
LWM2M_CBOR = 11544

# Numbers from before LwM2M 1.0, still seen in old clients, and what they mean.
LEGACY = {1541: TEXT, 1542: TLV, 1543: OMA_JSON, 1544: OCTET_STREAM}

# Formats that hold one value of one resource and nothing else.
SINGLE_VALUE = frozenset({TEXT, OCTET_STREAM, CBOR})
