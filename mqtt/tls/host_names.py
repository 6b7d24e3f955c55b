"""Whether a certificate names the host that a client wanted (RFC 6125 §6.4, RFC 9110 §4.3.4)."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from mqtt.tls.errors import UnusableCredentials


def names_host(der: bytes, host: str) -> bool:
    """Whether a verified certificate's alternative names cover the host, a name or an address."""
    try:
        names = (
            x509.load_der_x509_certificate(der)
            .extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
            .value
        )
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False  # ValueError: OpenSSL takes what cannot be read here
    assert isinstance(names, x509.SubjectAlternativeName)
    if is_address(host):
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    wanted = ascii_name(host).decode().lower()
    return any(
        _name_matches(name.lower(), wanted) for name in names.get_values_for_type(x509.DNSName)
    )


def is_address(host: str) -> bool:
    """Whether a host is given by its address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def ascii_name(host: str) -> bytes:
    """A host's name as it is asked for in a ClientHello. Raises `UnusableCredentials`."""
    try:
        name = host.encode("idna")
    except UnicodeError:
        name = b""
    # OpenSSL takes an empty name for any, and does not see a NUL at the end.
    if not name or b"\0" in name:
        raise UnusableCredentials("the broker's host is no host name")
    return name


def _name_matches(pattern: str, host: str) -> bool:
    # RFC 6125 §6.4.3: a wildcard stands for exactly the leftmost label.
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host
