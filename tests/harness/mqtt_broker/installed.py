"""An installation's key files as provisioning makes them, and clients with certificates."""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography import x509

from city_platform.provisioning.certificates import Issued
from city_platform.provisioning.crl import make_crl
from city_platform.provisioning.key_files import pem
from city_platform.provisioning.pki import issue_for_services, open_pki
from city_platform.stores.certificate_register import CertificateRecord
from contracts.api import RevokedCertificate, RevokedList, RolloverStep

HOSTS = ("127.0.0.1", "localhost")


class Proof(NamedTuple):
    """A certificate, and a context that shows it and trusts what its device was told to."""

    sha256: str
    der: bytes
    context: ssl.SSLContext


class KeyFiles:
    """`pki/` of an installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authorities = open_pki(folder, (), HOSTS, _now_us(), os.urandom)
        self._number = 0
        self._revoked: list[Proof] = []
        self.publish()

    def broker_config(self) -> dict[str, Any]:
        """The fields of a broker's configuration that name files."""
        return {
            "ca_file": str(self.folder / "ca.pem"),
            "certificate_file": str(self.folder / "broker.pem"),
            "key_file": str(self.folder / "broker.key"),
            "revoked_file": str(self.folder / "revoked.json"),
            "crl_file": str(self.folder / "crl.pem"),
        }

    def issue(self, identity: str) -> Proof:
        """A certificate of the authority that signs now."""
        signing = self._authorities.signing
        issued = signing.for_devices(_now_us(), timedelta(days=1)).issue(identity)
        return Proof(
            hashlib.sha256(issued.certificate).hexdigest(),
            issued.certificate,
            self._context(issued, signing.der),
        )

    def revoke(self, *proofs: Proof) -> None:
        """List them."""
        self._revoked += proofs
        self.publish()

    def step(self, step: RolloverStep) -> None:
        """Roll the authority over, as provisioning does."""
        self._authorities.step(step, _now_us())
        issue_for_services(self.folder, self._authorities, (), HOSTS, _now_us())
        self.publish()

    def publish(self) -> None:
        """Write `revoked.json` and `crl.pem`."""
        self._number += 1
        entries = [
            RevokedCertificate(
                sha256=one.sha256, serial_number="", identity="", at_us=0, reason="superseded"
            )
            for one in self._revoked
        ]
        found = RevokedList(number=self._number, at_us=_now_us(), revoked=entries)
        (self.folder / "revoked.json").write_bytes(msgspec.json.encode(found))
        records = [(_record(one), x509.load_der_x509_certificate(one.der)) for one in self._revoked]
        all_of_them = (
            self._authorities.signing,
            self._authorities.previous,
            self._authorities.following,
        )
        self.folder.joinpath("crl.pem").write_bytes(
            b"".join(
                make_crl(each, records, self._number, _now_us())
                for each in all_of_them
                if each is not None
            )
        )

    def _context(self, issued: Issued, anchor: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # TLS 1.2 as the fleet: its sessions are resumed with what was proven before.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=pem("CERTIFICATE", anchor).decode())
        pair = self.folder / f"{hashlib.sha256(issued.certificate).hexdigest()[:16]}.client"
        pair.write_bytes(pem("CERTIFICATE", issued.certificate) + pem("PRIVATE KEY", issued.key))
        context.load_cert_chain(pair)
        return context


def _record(proof: Proof) -> CertificateRecord:
    return CertificateRecord(
        sha256=proof.sha256,
        thing="",
        der=proof.der,
        expires_at_us=0,
        state="revoked",
        since_us=_now_us(),
        reason="superseded",
    )


def _now_us() -> int:
    return time.time_ns() // 1_000
