"""The hash chain: what a line is, how the next one is made, and how lines are found to be broken.

A line is one JSON object and ends with its own hash: `{"v":1,"sequence":7,"previous":"…",…,
"hash":"…"}`. The hash is the SHA-256 of the line's bytes before `,"hash":`, which name the hash of
the line before: nobody can alter, remove, repeat or insert a line without making all that follow
anew. It does not know who may do that; `signing` does.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import msgspec

from city_platform.audit.entries import AuditEntry

LINE_VERSION: Final = 1
LINE_BYTES_MAX: Final = 65_536
HASH_LENGTH: Final = 64

_HASH_FIELD: Final = b',"hash":"'
_END: Final = b'"}'
_CUT: Final = len(_HASH_FIELD) + HASH_LENGTH + len(_END)

Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ChainHead(NamedTuple):
    """Where a chain has come: the last line's sequence (0: none) and hash."""

    sequence: int
    hash: str


class ChainLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line, decoded. `sequence` counts from 1."""

    v: int
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    previous: Hash
    entry: AuditEntry
    hash: Hash


class _Body(msgspec.Struct, frozen=True):
    v: int
    sequence: int
    previous: str
    entry: AuditEntry


class MalformedLine(ValueError):
    """Bytes that are no line of an audit log; the text says what is expected."""


_lines = msgspec.json.Decoder(ChainLine)
_encoder = msgspec.json.Encoder()


def genesis(public_key: bytes) -> ChainHead:
    """The head of an empty chain. It is bound to the key, so that no other log can take its place.

    `public_key` is the raw Ed25519 key.
    """
    return ChainHead(0, hashlib.sha256(b"lamplighter audit log 1\0" + public_key).hexdigest())


def extend(head: ChainHead, entry: AuditEntry) -> tuple[bytes, ChainHead]:
    """The line of `entry`, without a newline, and the head behind it."""
    sequence = head.sequence + 1
    body = _encoder.encode(_Body(LINE_VERSION, sequence, head.hash, entry))[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + _HASH_FIELD + digest.encode() + _END, ChainHead(sequence, digest)


def read_line(line: bytes) -> tuple[ChainLine, bool]:
    """A line and whether its hash is that of its bytes. Raises `MalformedLine`."""
    if len(line) > LINE_BYTES_MAX:
        raise MalformedLine(f"a line has at most {LINE_BYTES_MAX} bytes, this one {len(line)}")
    if line[-_CUT : -_CUT + len(_HASH_FIELD)] != _HASH_FIELD:
        raise MalformedLine('a line ends with its "hash"')
    try:
        found = _lines.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedLine(f"not an audit line: {error}") from None
    if found.v != LINE_VERSION:
        raise MalformedLine(f"a line of version {found.v}; this program knows {LINE_VERSION}")
    return found, hashlib.sha256(line[:-_CUT]).hexdigest() == found.hash


class ChainState(enum.StrEnum):
    """What is known of a chain so far."""

    EMPTY = "empty"
    WHOLE = "whole"
    BROKEN = "broken"


class LineFinding(enum.StrEnum):
    """What a line is to the lines before it."""

    NEXT = "next"
    MALFORMED = "malformed"
    ALTERED = "altered"
    REPEATED = "repeated"
    MISSING_BEFORE = "missing_before"
    FOREIGN = "foreign"


_BREAKS: Final[dict[LineFinding, ChainState]] = {
    finding: ChainState.BROKEN for finding in LineFinding if finding is not LineFinding.NEXT
}

# What broke a chain once is not mended by what follows.
CHAIN_TRANSITIONS: Final[Mapping[ChainState, Mapping[LineFinding, ChainState]]] = {
    ChainState.EMPTY: {LineFinding.NEXT: ChainState.WHOLE, **_BREAKS},
    ChainState.WHOLE: {LineFinding.NEXT: ChainState.WHOLE, **_BREAKS},
    ChainState.BROKEN: {LineFinding.NEXT: ChainState.BROKEN, **_BREAKS},
}

LINE_FINDINGS: Final[Mapping[LineFinding, str]] = {
    LineFinding.NEXT: "follows the line before",
    LineFinding.MALFORMED: "is no line of an audit log",
    LineFinding.ALTERED: "was altered: its hash is not that of its content",
    LineFinding.REPEATED: "was there before: lines were repeated or put in another order",
    LineFinding.MISSING_BEFORE: "does not follow: lines before it are missing",
    LineFinding.FOREIGN: "does not name the hash of the line before: one of them was replaced",
}


class ChainCheck:
    """Takes lines one after the other. `head` is where the chain has come, `state` how it stands.

    After a break it goes on from the line that was found, so that one alteration is told once.
    """

    def __init__(self, begin: ChainHead) -> None:
        self.head = begin
        self.state = ChainState.EMPTY

    def take(self, line: bytes) -> LineFinding:
        """What the next line is."""
        finding = self._look_at(line)
        self.state = CHAIN_TRANSITIONS[self.state][finding]
        return finding

    def _look_at(self, line: bytes) -> LineFinding:
        try:
            found, is_intact = read_line(line)
        except MalformedLine:
            return LineFinding.MALFORMED
        before = self.head
        if found.sequence <= before.sequence:
            return LineFinding.REPEATED
        self.head = ChainHead(found.sequence, found.hash)
        if not is_intact:
            return LineFinding.ALTERED
        if found.sequence > before.sequence + 1:
            return LineFinding.MISSING_BEFORE
        return LineFinding.NEXT if found.previous == before.hash else LineFinding.FOREIGN
