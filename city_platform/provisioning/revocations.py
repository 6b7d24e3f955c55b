"""Publishes which certificates are revoked, for brokers and for whoever asks over HTTP.

| file in `pki/` | for whom |
|---|---|
| `crl.pem` | Mosquitto (`crlfile`) and others with OpenSSL: a CRL of each authority |
| `revoked.json` | brokers that look a certificate up themselves: `contracts.api.RevokedList` |

Both are replaced whole, and are published again long before a CRL is out of date, since a broker
that checks one lets nobody in when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from city_platform.provisioning.crl import CRL_FILE, LIST_FILE, make_crl, trusted_authorities
from city_platform.provisioning.rollover import AuthorityFiles
from city_platform.stores.certificate_register import (
    LIST_LIMIT_MAX,
    CertificateQuery,
    CertificateRecord,
    CertificateRegister,
)
from contracts.api import RevokedCertificate, RevokedList
from runtime.files import write_atomically

# How often they are published anew when nothing has changed: long before a CRL's validity ends.
PUBLISH_AGAIN_S: Final = 86_400.0


class Revocations:
    """Makes and keeps the published list. `published` is called when it is on disk."""

    def __init__(
        self,
        folder: Path,
        authorities: AuthorityFiles,
        register: CertificateRegister,
        published: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._authorities = authorities
        self._register = register
        self._published = published
        self._turn = asyncio.Lock()
        self.now = self._read()

    async def publish(self, now_us: int) -> RevokedList:
        """Publish what is revoked and not expired, and return it."""
        async with self._turn:
            records = await self._revoked(now_us)
            # In a thread: ten thousand entries take most of a second.
            self.now = await asyncio.get_running_loop().run_in_executor(
                None, self._write, records, now_us
            )
            self._published()
            return self.now

    def _write(self, records: Sequence[CertificateRecord], now_us: int) -> RevokedList:
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
            make_crl(authority, found, number, now_us)
            for authority in trusted_authorities(self._authorities)
        )
        made = RevokedList(number=number, at_us=now_us, revoked=entries)
        write_atomically(self._folder / CRL_FILE, crl, sync=True)
        write_atomically(self._folder / LIST_FILE, msgspec.json.encode(made), sync=True)
        return made

    async def _revoked(self, now_us: int) -> list[CertificateRecord]:
        records: list[CertificateRecord] = []
        query = CertificateQuery(state="revoked", limit=LIST_LIMIT_MAX)
        while page := await self._register.certificates(query):
            records += [record for record in page if record.expires_at_us > now_us]
            query = msgspec.structs.replace(query, after=page[-1].sha256)
        return records

    def _read(self) -> RevokedList:
        try:
            data = (self._folder / LIST_FILE).read_bytes()
            return msgspec.json.decode(data, type=RevokedList)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            # It is made anew at the start; its number goes on from the clock.
            return RevokedList(number=0, at_us=0, revoked=[])
