"""Publishes which certificates are revoked, for brokers and for whoever asks over HTTP.

| file in `pki/` | for whom |
|---|---|
| `crl.pem` | Mosquitto (`crlfile`) and others with OpenSSL: a CRL of each authority |
| `revoked.json` | brokers that look a certificate up themselves: `contracts.api.RevokedList` |

Both are replaced whole, and are published again long before a CRL is out of date, since a broker
that checks one lets nobody in when it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from city_platform.provisioning.certificates import Authority, issuer_key_id
from city_platform.provisioning.rollover import AuthorityFiles
from city_platform.stores.certificate_register import (
    LIST_LIMIT_MAX,
    CertificateQuery,
    CertificateRecord,
    CertificateRegister,
)
from contracts.api import RevokedCertificate, RevokedList
from runtime.files import write_atomically

# How long a CRL is valid, and how often it is published anew when nothing has changed.
VALID: Final = timedelta(days=30)
PUBLISH_AGAIN_S: Final = 86_400.0

_REASONS: Final = {
    "key_compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}


class Revocations:
    """Makes and keeps the published list."""

    def __init__(
        self, folder: Path, authorities: AuthorityFiles, register: CertificateRegister
    ) -> None:
        self._folder = folder
        self._authorities = authorities
        self._register = register
        self.now = self._read()

    async def publish(self, now_us: int) -> RevokedList:
        """Publish what is revoked and not expired, and return it."""
        records = await self._revoked(now_us)
        found = [(record, x509.load_der_x509_certificate(record.der)) for record in records]
        entries = [
            RevokedCertificate(
                sha256=record.sha256,
                serial_number=f"{certificate.serial_number:x}",
                identity=record.thing,
                at_us=record.since_us,
                reason=record.reason,
            )
            for record, certificate in found
        ]
        # Numbers grow (RFC 5280 §5.2.3), also when the clock was set back.
        number = max(self.now.number + 1, now_us // 1_000_000)
        crl = b"".join(
            make_crl(authority, found, number, now_us) for authority in self._authorities_now()
        )
        self.now = RevokedList(number=number, at_us=now_us, revoked=entries)
        write_atomically(self._folder / "crl.pem", crl, sync=True)
        write_atomically(self._folder / "revoked.json", msgspec.json.encode(self.now), sync=True)
        return self.now

    def _authorities_now(self) -> Iterable[Authority]:
        yield self._authorities.signing
        previous = self._authorities.previous
        if previous is not None:
            yield previous
        # An OpenSSL that checks CRLs wants one of every authority that it may meet.
        following = self._authorities.following
        if following is not None:
            yield following

    async def _revoked(self, now_us: int) -> list[CertificateRecord]:
        records: list[CertificateRecord] = []
        query = CertificateQuery(state="revoked", limit=LIST_LIMIT_MAX)
        while page := await self._register.certificates(query):
            records += [record for record in page if record.expires_at_us > now_us]
            query = msgspec.structs.replace(query, after=page[-1].sha256)
        return records

    def _read(self) -> RevokedList:
        try:
            data = (self._folder / "revoked.json").read_bytes()
            return msgspec.json.decode(data, type=RevokedList)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            # It is made anew at the start; its number goes on from the clock.
            return RevokedList(number=0, at_us=0, revoked=[])


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
