"""What a story does with certificates: rotates, rolls the authority over, revokes, gives back, and
tries those of before. What it saw goes into notes, for `harness.checks.certificates`."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_der_x509_certificate

from contracts.api import (
    AuthorityStatus,
    CertificatePage,
    CertificateState,
    CertificateStatus,
    IssuedCertificate,
    RolloverStep,
    RotationState,
)
from contracts.credentials import decode_document
from harness.checks.certificates import (
    NOTE_OLD_TRIED,
    NOTE_READMITTED,
    NOTE_REVOKED,
    NOTE_WANTED,
)
from mqtt.packets import ConnAck, Connect, Parser, encode
from runtime.files import write_secret

if TYPE_CHECKING:
    from harness.runner.run import Run

OWN_KEYS: Final = "own_keys"
ASKED_EVERY_S: Final = 0.5
# Who is not refused within it counts as let in: long enough for a busy machine.
ATTEMPT_WITHIN_S: Final = 60.0
ATTEMPTS_AT_ONCE: Final = 8
PAGE: Final = 999


class Proof(NamedTuple):
    """What a device proves itself with at the broker: certificate and key, DER."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Proof(certificate of {len(self.certificate)} bytes, …)"


def proofs_now(run: Run, own_keys: Mapping[str, str], endpoints: Iterable[str]) -> dict[str, Proof]:
    """What devices have now, from the platform's files and the files of those that keep theirs.

    The keys are kept beside those: when the platform has forgotten them they are still secret.
    """
    state = run.bench.plan.state_dir
    folder, kept = state / "objects" / "credentials", state / OWN_KEYS
    kept.mkdir(mode=0o700, exist_ok=True)
    found = {}
    for endpoint in endpoints:
        broker = decode_document((folder / f"{endpoint}.json").read_bytes()).broker
        key = broker.secret_key or _read_key(Path(own_keys[endpoint]))
        found[endpoint] = Proof(broker.certificate, key)
        digest = hashlib.sha256(broker.certificate).hexdigest()
        write_secret(kept / f"of-{digest[:32]}.key", key)
    return found


def _read_key(path: Path) -> bytes:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


async def rotate_everybody(run: Run, *, within_s: float) -> None:
    """Have all devices given another certificate, and wait until none needs its old one."""
    run.begin("rotation")
    client = run.bench.http("provisioning")
    await client.send("POST", "/v1/rotations", b"{}", RotationState)
    await client.close()
    await until_nothing_is_superseded(run, within_s)


async def roll_the_authority_over(run: Run, *, within_s: float) -> None:
    """One authority follows another, with two anchors in between."""
    run.begin("rollover")
    for step in ("begin", "switch"):
        await _step(run, step)
    due_ns = run.clock.now_ns() + int(within_s * 1e9)
    client = run.bench.http("provisioning")
    while left := (await client.get("/v1/authority", AuthorityStatus)).devices_of_previous:
        if run.clock.now_ns() > due_ns:
            run.give_up(f"{left} devices have a certificate of the authority before")
            break
        await run.let_pass(ASKED_EVERY_S)
    await client.close()
    await until_nothing_is_superseded(run, within_s)
    if not left:
        await _step(run, "finish")


async def _step(run: Run, step: RolloverStep) -> None:
    client = run.bench.http("provisioning")
    await client.send("POST", "/v1/authority", msgspec.json.encode({"step": step}), AuthorityStatus)
    await client.close()


async def until_nothing_is_superseded(run: Run, within_s: float) -> None:
    """Wait until every device is known to have its newest certificate, and those of before are
    revoked."""
    due_ns = run.clock.now_ns() + int(within_s * 1e9)
    client = run.bench.http("provisioning")
    while (await client.get("/v1/rotations", RotationState)).waiting or (
        await client.get("/v1/certificates?state=superseded&limit=1", CertificatePage)
    ).certificates:
        if run.clock.now_ns() > due_ns:
            run.give_up(f"some devices do not have their new certificate after {within_s:g} s")
            break
        await run.let_pass(ASKED_EVERY_S)
    await client.close()


async def note_wanted(run: Run) -> None:
    """Note which certificate each device is to have, as the platform says."""
    for found in await certificates(run, "active"):
        run.note(NOTE_WANTED, endpoint=found.endpoint, text=found.sha256)


async def certificates(run: Run, state: CertificateState) -> list[CertificateStatus]:
    """All certificates in this state."""
    client, found, cursor = run.bench.http("provisioning"), list[CertificateStatus](), ""
    while True:
        page = await client.get(
            f"/v1/certificates?state={state}&limit={PAGE}&cursor={cursor}", CertificatePage
        )
        found += page.certificates
        if page.next_cursor is None:
            await client.close()
            return found
        cursor = page.next_cursor


async def revoke(run: Run, endpoints: Sequence[str]) -> None:
    """Revoke the certificates of these devices, one after the other."""
    active = {found.endpoint: found.sha256 for found in await certificates(run, "active")}
    client = run.bench.http("provisioning")
    body = msgspec.json.encode({"reason": "key_compromise"})
    for endpoint in endpoints:
        # From when it was asked for: what the platform does first counts too.
        run.note(NOTE_REVOKED, endpoint=endpoint, text=active[endpoint])
        path = f"/v1/certificates/{active[endpoint]}/revoke"
        await client.send("POST", path, body, CertificateStatus)
    await client.close()


async def readmit(run: Run, endpoints: Sequence[str]) -> None:
    """Give these devices other certificates."""
    client = run.bench.http("provisioning")
    for endpoint in endpoints:
        run.note(NOTE_READMITTED, endpoint=endpoint)
        path = f"/v1/devices/{endpoint}/certificate"
        await client.send("POST", path, b"{}", IssuedCertificate)
    await client.close()


async def try_old(run: Run, proofs: Mapping[str, Proof]) -> None:
    """Connect to the broker with certificates of before, and note what comes of it."""
    places = asyncio.Semaphore(ATTEMPTS_AT_ONCE)

    async def attempt(endpoint: str, proof: Proof) -> None:
        async with places:
            refused = await _refusal(run, endpoint, proof)
        run.note(
            NOTE_OLD_TRIED,
            endpoint=endpoint,
            value=0.0 if refused else 1.0,
            text=refused or "was let in",
        )

    await asyncio.gather(*(attempt(endpoint, proof) for endpoint, proof in proofs.items()))


async def _refusal(run: Run, endpoint: str, proof: Proof) -> str:
    """Why the broker does not let this certificate in; empty when it does."""
    host, _, port = run.bench.address("broker", "mqtt").rpartition(":")
    try:
        async with asyncio.timeout(ATTEMPT_WITHIN_S):
            reader, writer = await asyncio.open_connection(
                host, int(port), ssl=_context(run, endpoint, proof)
            )
            try:
                writer.write(encode(Connect(client_id=endpoint)))
                return _said(await reader.read(4_096))
            finally:
                writer.close()
    except TimeoutError:
        return ""  # it did not say no
    except OSError as error:  # TLS's errors are some
        return f"TLS: {getattr(error, 'reason', None) or error}"


def _said(data: bytes) -> str:
    packets = Parser().receive_bytes(data)
    codes = [packet.return_code for packet in packets if isinstance(packet, ConnAck)]
    if not data:
        return "the connection was closed"
    return f"CONNACK {codes[0]}" if codes and codes[0] else ""


def _context(run: Run, endpoint: str, proof: Proof) -> ssl.SSLContext:
    state = run.bench.plan.state_dir
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # TLS 1.2 as the fleet: there the broker's refusal is part of the handshake.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(state / "pki" / "ca.pem")
    certificate = load_der_x509_certificate(proof.certificate)
    key = serialization.load_der_private_key(proof.key, None)
    pair = state / f"tried-{certificate.serial_number:x}.pem"
    pem = serialization.Encoding.PEM
    write_secret(
        pair,
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    try:
        context.load_cert_chain(pair)
    finally:
        pair.unlink()
    return context
