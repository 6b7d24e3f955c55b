"""Why a handshake failed or a session ended, in short names to count by."""

from __future__ import annotations

import re

from lwm2m.transport.dtls.bindings import lib

# RFC 5246 §7.2 and RFC 4279, RFC 6066, RFC 7301.
ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    115: "unknown_psk_identity",
}
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, BAD_CERTIFICATE = 0, 10, 40, 42
ILLEGAL_PARAMETER, ACCESS_DENIED, DECODE_ERROR, DECRYPT_ERROR = 47, 49, 50, 51
PROTOCOL_VERSION, INTERNAL_ERROR, UNSUPPORTED_EXTENSION = 70, 80, 110
CERTIFICATE_EXPIRED, UNKNOWN_PSK_IDENTITY, NO_RENEGOTIATION = 45, 115, 100

# OpenSSL numbers the alerts that it received from here (SSL_AD_REASON_OFFSET).
_ALERT_REASONS = 1000
_ALERT_REASONS_END = 1256

_REASONS = {
    "no_shared_cipher": "no_shared_suite",
    "peer_did_not_return_a_certificate": "certificate_missing",
    "certificate_verify_failed": "certificate_refused",
}

_VERIFICATION = {
    lib.X509_V_ERR_CERT_HAS_EXPIRED: "certificate_expired",
    lib.X509_V_ERR_CERT_NOT_YET_VALID: "certificate_not_yet_valid",
    lib.X509_V_ERR_INVALID_PURPOSE: "certificate_wrong_usage",
    lib.X509_V_ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE: "certificate_wrong_usage",
    lib.X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "certificate_unknown_authority",
    lib.X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: "certificate_unknown_authority",
    lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT: "certificate_unknown_authority",
    lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "certificate_unknown_authority",
    lib.X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "certificate_unknown_authority",
    lib.X509_V_ERR_CERT_SIGNATURE_FAILURE: "certificate_bad_signature",
    lib.X509_V_ERR_HOSTNAME_MISMATCH: "certificate_wrong_name",
    lib.X509_V_ERR_IP_ADDRESS_MISMATCH: "certificate_wrong_name",
    lib.X509_V_ERR_INVALID_CA: "certificate_unknown_authority",
}


def alert_reason(description: int) -> str:
    """The name for an alert that the other side sent."""
    return f"alert_{ALERTS.get(description, description)}"


def failure_reason(reason: int, text: str, verify_result: int) -> str:
    """The name for what OpenSSL reports: its reason number and text, its verification result."""
    if _ALERT_REASONS < reason < _ALERT_REASONS_END:
        return alert_reason(reason - _ALERT_REASONS)
    if verify_result != lib.X509_V_OK:
        return _VERIFICATION.get(verify_result, "certificate_refused")
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return _REASONS.get(name, name or "protocol_error")
