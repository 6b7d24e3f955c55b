"""The installation's key files: the authority, the services' certificates, the broker's.

| file | what |
|---|---|
| `ca.pem` | whom to trust: the authority that signs, first, and in a rollover the other one |
| `ca.key` | the key of the authority that signs |
| `svc_bridge_s1.pem`, `.key` | a service's, the identity with `_` for `:` |
| `broker.pem`, `broker.key` | the broker's, for its host names and addresses |
| `crl.pem`, `revoked.json` | what was revoked: `revocations` |
| `next_ca.*`, `previous_ca.*`, `cross.pem`, `rollover.json` | what `rollover` needs |

Keys are PKCS #8 PEM that the owner alone can read. A key is written before its certificate, so
that a certificate whose file is there can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from city_platform.provisioning.certificates import Draw, Issuer, server_names
from city_platform.provisioning.key_files import (
    AUTHORITY_LIFETIME,
    SERVICE_LIFETIME,
    DamagedPki,
    pem,
    read_certificates,
    read_key,
    write_pair,
)
from city_platform.provisioning.rollover import AuthorityFiles
from contracts.names import principal_of
from runtime.files import write_atomically

__all__ = [
    "AUTHORITY_LIFETIME",
    "SERVICE_LIFETIME",
    "DamagedPki",
    "issue_for_services",
    "open_pki",
    "service_file",
]


def open_pki(
    folder: Path, services: Iterable[str], broker_hosts: Sequence[str], now_us: int, draw: Draw
) -> AuthorityFiles:
    """The installation's authority; at the first start it and all certificates are made.

    A service that was added later gets its certificate; existing ones stay as long as the authority
    that signed them is the one that signs. Raises `DamagedPki`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    names = list(services)
    for identity in names:
        principal_of(identity)
    authorities = AuthorityFiles(folder, now_us, draw)
    issue_for_services(folder, authorities, names, broker_hosts, now_us)
    return authorities


def issue_for_services(
    folder: Path,
    authorities: AuthorityFiles,
    services: Iterable[str],
    broker_hosts: Sequence[str],
    now_us: int,
) -> None:
    """Certificates for the services and the broker that have none of the signing authority."""
    signing = authorities.signing

    def for_services() -> Issuer:
        return signing.for_services(now_us, SERVICE_LIFETIME)

    def for_the_broker() -> Issuer:
        return signing.for_servers(now_us, SERVICE_LIFETIME, broker_hosts)

    for identity in services:
        _issue(folder, service_file(identity), identity, for_services, authorities, [])
    chain = authorities.broker_chain
    _issue(folder, "broker", "broker", for_the_broker, authorities, chain, broker_hosts)


def service_file(identity: str) -> str:
    """The name of a service's files, without their endings."""
    return identity.replace(":", "_")


def _issue(
    folder: Path,
    name: str,
    identity: str,
    issuer: Callable[[], Issuer],
    authorities: AuthorityFiles,
    chain: Sequence[bytes],
    hosts: Sequence[str] = (),
) -> None:
    path = folder / f"{name}.pem"
    if not path.exists():
        issued = issuer().issue(identity)
        write_pair(folder, name, issued.certificate, issued.key)
        if not chain:
            return
    found = read_certificates(path)
    if (
        authorities.is_of_signing(found[0])
        and len(found) == 1 + len(chain)
        and server_names(found[0]).issuperset(hosts)
    ):
        return
    # The key stays: file by file, what is there fits together at any time.
    public = read_key(folder / f"{name}.key").public_key()
    ders = [issuer().issue_for(identity, public).certificate, *chain]
    write_atomically(path, b"".join(pem("CERTIFICATE", der) for der in ders), sync=True)
