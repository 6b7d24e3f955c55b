"""Sessions on disk, each sealed with a key that only its cookie gives: the files open for nobody.

A session is one file, named after the hash of its id; the id itself is nowhere but in the browser.
"""

from __future__ import annotations

import contextlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runtime.files import write_secret

_NONCE_BYTES: Final = 12
_SUFFIX: Final = ".session"
_FILE_BYTES_MAX: Final = 65_536


class KeptSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is after a restart."""

    refresh_token: str
    csrf: str
    began_us: int
    ends_at_us: int
    source: str = "identity"

    def __repr__(self) -> str:
        return "KeptSession(…)"


class SealedSessions:
    """The folder of sessions. All calls write or read files: call them in an executor."""

    def __init__(self, folder: Path, draw: Callable[[int], bytes]) -> None:
        self._folder = folder
        self._draw = draw

    def put(self, session_id: str, session: KeptSession) -> None:
        """Keep a session, or what has become of it."""
        nonce = self._draw(_NONCE_BYTES)
        sealed = AESGCM(_key(session_id)).encrypt(nonce, msgspec.json.encode(session), b"")
        write_secret(self._path(session_id), nonce + sealed)

    def get(self, session_id: str) -> KeptSession | None:
        """The session; None when there is none, or it was not sealed with this id."""
        try:
            data = self._path(session_id).read_bytes()[:_FILE_BYTES_MAX]
            plain = AESGCM(_key(session_id)).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], b"")
            return msgspec.json.decode(plain, type=KeptSession)
        except (OSError, InvalidTag, ValueError, msgspec.DecodeError):
            return None

    def drop(self, session_id: str) -> None:
        """Forget a session."""
        self._path(session_id).unlink(missing_ok=True)

    def drop_older(self, before_s: float) -> None:
        """Forget sessions that were last kept before this Unix time: they have ended long since."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before_s:
                    path.unlink()

    def _path(self, session_id: str) -> Path:
        name = sha256(b"name\0" + session_id.encode()).digest()
        return self._folder / f"{urlsafe_b64encode(name).decode().rstrip('=')}{_SUFFIX}"


def _key(session_id: str) -> bytes:
    # The id is 256 random bits: a plain hash of it is as good a key as any derivation.
    return sha256(b"seal\0" + session_id.encode()).digest()
