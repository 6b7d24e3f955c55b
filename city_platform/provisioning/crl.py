"""Certificate revocation lists (RFC 5280 §5): one of each authority that is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from city_platform.provisioning.certificates import Authority, issuer_key_id
from city_platform.provisioning.rollover import AuthorityFiles
from contracts.api import RevokedList
from runtime.files import write_atomically

if TYPE_CHECKING:
    from city_platform.stores.certificate_register import CertificateRecord

CRL_FILE: Final = "crl.pem"
LIST_FILE: Final = "revoked.json"
# How long a CRL is valid.
VALID: Final = timedelta(days=30)

_REASONS: Final = {
    "key_compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}


def trusted_authorities(authorities: AuthorityFiles) -> Iterator[Authority]:
    """All whose certificates may be met: an OpenSSL that checks CRLs wants one of each."""
    yield authorities.signing
    for other in (authorities.previous, authorities.following):
        if other is not None:
            yield other


def write_first_lists(folder: Path, authorities: AuthorityFiles, now_us: int) -> None:
    """Empty lists where there are none: a broker that reads them may start before the registry
    of certificates is open."""
    if not (folder / CRL_FILE).exists():
        number = now_us // 1_000_000
        each = (make_crl(one, (), number, now_us) for one in trusted_authorities(authorities))
        write_atomically(folder / CRL_FILE, b"".join(each), sync=True)
    if not (folder / LIST_FILE).exists():
        # Number 0: what is published first is newer.
        empty = msgspec.json.encode(RevokedList(number=0, at_us=now_us, revoked=[]))
        write_atomically(folder / LIST_FILE, empty, sync=True)


def make_crl(
    authority: Authority,
    revoked: Sequence[tuple[CertificateRecord, x509.Certificate]],
    number: int,
    now_us: int,
) -> bytes:
    """An authority's list of those of `revoked` that it signed, as PEM."""
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    public = authority.key.public_key()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(now + VALID)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    for record, certificate in revoked:
        if issuer_key_id(certificate) == authority.key_id:
            builder = builder.add_revoked_certificate(_entry(record, certificate))
    signed = builder.sign(authority.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _entry(record: CertificateRecord, certificate: x509.Certificate) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(certificate.serial_number)
        .revocation_date(datetime.fromtimestamp(record.since_us // 1_000_000, UTC))
    )
    reason = _REASONS.get(record.reason)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()
