"""The cipher suites that are spoken, by their registered names, and how each protects records.

All have the PRF and hash SHA-256 (RFC 5246 §5), which the key derivation here relies on.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lwm2m.transport.dtls.errors import UnusableCredentials

RecordCipher = Literal["ccm_8", "ccm", "gcm", "cbc"]


class CipherSuite(msgspec.Struct, frozen=True):
    """One suite: IANA's name and number, OpenSSL's name, its authentication, its record cipher."""

    name: str
    number: int
    openssl_name: str
    authentication: Literal["psk", "x509"]
    cipher: RecordCipher

    @property
    def has_ecdhe(self) -> bool:
        """Whether its key exchange is an ephemeral one."""
        return self.name.startswith("TLS_ECDHE_")


SUITES = {
    suite.name: suite
    for suite in (
        # LwM2M's mandatory one for PSK comes first, as a constrained device would order it.
        CipherSuite("TLS_PSK_WITH_AES_128_CCM_8", 0xC0A8, "PSK-AES128-CCM8", "psk", "ccm_8"),
        CipherSuite("TLS_PSK_WITH_AES_128_CCM", 0xC0A4, "PSK-AES128-CCM", "psk", "ccm"),
        CipherSuite(
            "TLS_PSK_WITH_AES_128_GCM_SHA256", 0x00A8, "PSK-AES128-GCM-SHA256", "psk", "gcm"
        ),
        CipherSuite(
            "TLS_PSK_WITH_AES_128_CBC_SHA256", 0x00AE, "PSK-AES128-CBC-SHA256", "psk", "cbc"
        ),
        # OpenSSL has no other ECDHE_PSK suite with a 128-bit key and SHA-256.
        CipherSuite(
            "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256",
            0xC037,
            "ECDHE-PSK-AES128-CBC-SHA256",
            "psk",
            "cbc",
        ),
        CipherSuite(
            "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
            0xC0AE,
            "ECDHE-ECDSA-AES128-CCM8",
            "x509",
            "ccm_8",
        ),
        CipherSuite(
            "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", 0xC0AC, "ECDHE-ECDSA-AES128-CCM", "x509", "ccm"
        ),
        CipherSuite(
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            0xC02B,
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "x509",
            "gcm",
        ),
        CipherSuite(
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
            0xC023,
            "ECDHE-ECDSA-AES128-SHA256",
            "x509",
            "cbc",
        ),
    )
}
DEFAULT_SUITES = tuple(SUITES)
BY_OPENSSL_NAME = {suite.openssl_name: suite for suite in SUITES.values()}


def openssl_cipher_list(names: tuple[str, ...]) -> bytes:
    """OpenSSL's cipher list for the suites, in this order of preference.

    Raises `UnusableCredentials` for a name that is not in `SUITES`, and when there is none.
    """
    unknown = [name for name in names if name not in SUITES]
    if unknown or not names:
        raise UnusableCredentials(
            f"cipher suites that are not supported: {unknown or 'none given'}"
        )
    chosen = [SUITES[name].openssl_name for name in names]
    # Level 0: OpenSSL counts CCM_8's 64-bit tag as 64 bits of security and bars it from level 1
    # (80 bits) upwards; LwM2M makes that very suite mandatory. What is spoken is this list alone.
    return ":".join([*chosen, "@SECLEVEL=0"]).encode()
