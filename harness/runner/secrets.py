"""Searches every output of a run for every secret of that run.

A secret is looked for as its raw bytes, as hex, and as base64 at each of the three alignments in
which it can stand inside longer base64 (so also within PEM and JSON of a whole key).
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from ahocorasick_rs import BytesAhoCorasick
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

from contracts.credentials import decode_document
from contracts.journal import SecretsScanned

CHUNK_BYTES = 8 * 1024 * 1024


class ScanResult(msgspec.Struct, frozen=True):
    """How much was searched and in which files something was found."""

    needles: int
    files: int
    searched_bytes: int
    found: list[str]

    def recorded(self, at_ns: int) -> SecretsScanned:
        """What the journal keeps of it, of this time."""
        return SecretsScanned(
            at_ns=at_ns,
            needles=self.needles,
            files=self.files,
            searched_bytes=self.searched_bytes,
            found=self.found,
        )


def private_scalar(key: bytes) -> bytes:
    """The 32 secret bytes of a P-256 key given as PEM or PKCS #8 DER."""
    load = load_pem_private_key if key.startswith(b"-----") else load_der_private_key
    private = load(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("only elliptic-curve keys are issued here")
    return private.private_numbers().private_value.to_bytes(private.key_size // 8, "big")


def scan(secrets: Iterable[bytes], outputs: Iterable[Path]) -> ScanResult:
    """Search `outputs` (files; gzip is looked into) for `secrets` (16 bytes and longer)."""
    needles = sorted({form for secret in secrets for form in _forms(secret)})
    files = sorted(outputs)
    if not needles:
        return ScanResult(needles=0, files=len(files), searched_bytes=0, found=[])
    searcher = BytesAhoCorasick(needles)
    overlap = max(map(len, needles)) - 1
    found, searched = [], 0
    for path in files:
        size, hit = _search(path, searcher, overlap)
        searched += size
        if hit:
            found.append(str(path))
    return ScanResult(needles=len(needles), files=len(files), searched_bytes=searched, found=found)


def _forms(secret: bytes) -> Iterator[bytes]:
    if len(secret) < 16:
        raise ValueError("a secret under 16 bytes would be found by chance")
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for lead in range(3):
        # Only the characters that depend on the secret alone.
        encoded = base64.b64encode(b"\0" * lead + secret)
        first = -(-lead * 8 // 6)
        last = (lead + len(secret)) * 8 // 6
        # Its ends alone, since PEM breaks lines: 16 characters are 96 bits, beyond all chance.
        for piece in (encoded[first : first + 16], encoded[last - 16 : last]):
            yield piece
            yield piece.replace(b"+", b"-").replace(b"/", b"_")


def _search(path: Path, searcher: BytesAhoCorasick, overlap: int) -> tuple[int, bool]:
    size, tail = 0, b""
    for chunk in _chunks(path):
        size += len(chunk)
        if searcher.find_matches_as_indexes(tail + chunk):
            return size, True
        tail = chunk[-overlap:]
    return size, False


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw:
            while chunk := raw.read(CHUNK_BYTES):
                yield chunk
        if path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                while chunk := unpacked.read(CHUNK_BYTES):
                    yield chunk
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error):
        return  # it went away, or is not what its name says; the raw bytes were searched


# Where the secrets of a run are meant to be: everything else must not hold one.
VAULTS = (
    "pki/*.key",
    "lwm2m_pki/**/*.key",
    "lwm2m_pki/**/*.psk",
    # Those that devices keep to themselves, and those that were replaced.
    "own_keys/*.key",
    "**/credentials/*",
    "keys.sqlite*",
    "server/security*",
    "server-*/security*",
    "fleet.ndjson",
    # Of further fleet processes: `harness.bench.configs.fleet_name`.
    "fleet-[0-9]*.ndjson",
    "*token*",
    "identity/users.sqlite*",
    "audit/audit.key",
)


def secrets_of(state: Path, given_psks: Iterable[bytes]) -> list[bytes]:
    """Every private key, PSK and token of a run, read from the vaults under `state`."""
    files = [*state.glob("pki/*.key"), *state.glob("lwm2m_pki/**/*.key")]
    files += state.glob("own_keys/*.key")
    keys = [private_scalar(path.read_bytes()) for path in files]
    signing = [*_issuer_keys(state), *_audit_key(state)]
    return [*keys, *signing, *_credential_keys(state), *_psks(state), *given_psks, *_tokens(state)]


def outputs_of(output_dir: Path, state: Path) -> list[Path]:
    """Every file of a run but the vaults: logs, journal, reports, broker store, archive, stores."""
    vaults = {path for pattern in VAULTS for path in state.glob(pattern)}
    return [
        path
        for root in (output_dir, state)
        for path in root.rglob("*")
        if path.is_file() and path not in vaults and not vaults & set(path.parents)
    ]


def _credential_keys(state: Path) -> Iterator[bytes]:
    for path in state.glob("**/credentials/*.json"):
        key = decode_document(path.read_bytes()).broker.secret_key
        if key:  # else the device has it to itself
            yield private_scalar(key)


def _psks(state: Path) -> Iterator[bytes]:
    for path in state.glob("server*/security*"):
        for line in path.read_bytes().splitlines():
            entry = msgspec.json.decode(line, type=_SecurityEntry)
            if entry.key:
                yield entry.key


def _tokens(state: Path) -> Iterator[bytes]:
    for path in state.glob("*_token"):
        yield path.read_bytes().strip()


def _issuer_keys(state: Path) -> Iterator[bytes]:
    """What is secret of the keys that access tokens are signed with: exponent and primes."""
    for database in state.glob("identity/users.sqlite"):
        with contextlib.closing(
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        ) as opened:
            rows = opened.execute("SELECT document FROM signing_keys").fetchall()
        for (document,) in rows:
            pem = msgspec.json.decode(document, type=_SigningKey).private_pem
            key = load_pem_private_key(pem, password=None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise TypeError("tokens are signed with RSA keys")
            numbers = key.private_numbers()
            for number in (numbers.d, numbers.p, numbers.q):
                yield number.to_bytes((number.bit_length() + 7) // 8, "big")


def _audit_key(state: Path) -> Iterator[bytes]:
    for path in state.glob("audit/audit.key"):
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise TypeError("the audit log is signed with an Ed25519 key")
        yield key.private_bytes_raw()


class _SigningKey(msgspec.Struct):
    """As much of the issuer's stored key as is needed; the PEM is base64 there."""

    private_pem: bytes


class _SecurityEntry(msgspec.Struct):
    """One line of the server emulator's security store; the key is base64 there."""

    key: bytes = b""
