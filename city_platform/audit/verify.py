"""Verifies an audit log, its archive, or one archived file: is it whole, and is its end there?

It reads and never writes. Everything it reads may have been tampered with: bytes that cannot be
read are findings, not errors.
"""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec

from city_platform.audit.chain import (
    LINE_BYTES_MAX,
    LINE_FINDINGS,
    ChainCheck,
    ChainHead,
    LineFinding,
    MalformedLine,
    genesis,
    read_line,
)
from city_platform.audit.signing import (
    HEAD_BYTES_MAX,
    DamagedKey,
    MalformedHead,
    SignedHead,
    read_head,
    read_public_key,
)

DATABASE: Final = "audit.sqlite"
HEAD_FILE: Final = "audit_head.json"
PUBLIC_KEY_FILE: Final = "audit.pub"
FINDINGS_MAX: Final = 100

AuditVerdict = Literal["intact", "broken", "inconclusive"]

_COLUMNS: Final = (
    "sequence", "id", "at_us", "operation", "outcome", "source", "who", "tenant", "device",
    "reference",
)  # fmt: skip


class NothingToVerify(ValueError):
    """The path is no audit log, no archive and no file of one; the text says what is expected."""


class Finding(NamedTuple):
    """What is wrong, and where: a file, or a file and an entry's place in it."""

    place: str
    text: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `signed_at_us` is the newest signed head's time (Unix), None without one."""

    verdict: AuditVerdict
    entries: int
    head: ChainHead
    signed_at_us: int | None
    findings: list[Finding]
    notes: list[str]


def verify(
    path: Path, public_key: bytes | None = None, expected: ChainHead | None = None
) -> Verification:
    """Verify a state folder, an archive's folder, an `audit.sqlite` or a `.jsonl[.gz]` file.

    `public_key` is the raw key; None takes `audit.pub` beside the log. `expected` is a head that
    was noted elsewhere: the log must contain it. Raises `NothingToVerify`.
    """
    found = _Verifier(public_key)
    if path.is_dir():
        _verify_folder(found, path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        _verify_objects(found, [path], is_whole=False)
    elif path.is_file():
        _verify_log(found, path)
    else:
        raise NothingToVerify(f"there is no {path}: name an audit folder or one of its files")
    if expected is not None:
        found.expect(expected)
    return found.verification()


class _Verifier:
    """Gathers what is found over several places."""

    def __init__(self, public_key: bytes | None) -> None:
        self.public_key = public_key
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.entries = 0
        self.head = ChainHead(0, "")
        self.signed: SignedHead | None = None
        # What the lines say, by sequence: log and archive must say the same.
        self._hashes: dict[int, str] = {}

    def find(self, place: str, text: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(place, text))

    def use_key_of(self, folder: Path) -> None:
        """Take the key that lies beside the log when none was given."""
        if self.public_key is not None:
            return
        try:
            self.public_key = read_public_key((folder / PUBLIC_KEY_FILE).read_bytes())
        except FileNotFoundError:
            return
        except (OSError, DamagedKey) as error:
            # Without it no signature can be looked at: whoever cut the end would like that.
            self.find(PUBLIC_KEY_FILE, f"cannot be read: {error}; give one that was kept elsewhere")
            return
        self.notes.append("the key was found beside the log: give one that was kept elsewhere")

    def want(self, document: bytes, place: str) -> SignedHead | None:
        """A signed head, None when it cannot be checked or is a finding."""
        if self.public_key is None:
            return None
        try:
            signed = read_head(document, self.public_key)
        except MalformedHead as error:
            self.find(place, str(error))
            return None
        if self.signed is None or signed.at_us > self.signed.at_us:
            self.signed = signed
        return signed

    def check_lines(self, lines: Iterator[tuple[str, bytes]], begin: ChainHead | None) -> ChainHead:
        """Check (place, line) in order; returns the head behind them."""
        check: ChainCheck | None = None if begin is None else ChainCheck(begin)
        for place, line in lines:
            if check is None:
                check = ChainCheck(_before(line))
            finding = check.take(line)
            if finding is not LineFinding.NEXT:
                self.find(place, LINE_FINDINGS[finding])
            known = self._hashes.setdefault(check.head.sequence, check.head.hash)
            if known != check.head.hash:
                self.find(place, "is not what the log has at this place")
            self.entries += 1
        return ChainHead(0, "") if check is None else check.head

    def compare(self, signed: SignedHead | None, source: str, head: ChainHead, place: str) -> None:
        """What was signed must be there: `place` has the lines and ends at `head`."""
        if signed is None:
            return
        if signed.sequence > head.sequence:
            self.find(place, f"ends at entry {head.sequence}; {source} was signed at "
                             f"{signed.sequence}: the entries behind were removed")  # fmt: skip
        elif self._hashes.get(signed.sequence, signed.hash) != signed.hash:
            self.find(place, f"entry {signed.sequence} is not the one {source} was signed for")

    def expect(self, expected: ChainHead) -> None:
        """A head that somebody noted elsewhere."""
        if self._hashes.get(expected.sequence) != expected.hash:
            self.find("expected head", f"entry {expected.sequence} is missing or was replaced")

    def verification(self) -> Verification:
        is_signed = self.signed is not None
        if not is_signed:
            self.notes.append("no signed head was found: whether the end was cut off is not known")
        verdict: AuditVerdict = "intact" if is_signed else "inconclusive"
        return Verification(
            verdict="broken" if self.findings else verdict,
            entries=self.entries,
            head=self.head,
            signed_at_us=self.signed.at_us if self.signed else None,
            findings=self.findings,
            notes=self.notes,
        )


def _verify_folder(found: _Verifier, folder: Path) -> None:
    database = folder / DATABASE
    archive = next(
        (one for one in (folder / "objects/audit", folder / "audit", folder) if _objects(one)), None
    )
    if not database.exists() and archive is None and not (folder / HEAD_FILE).exists():
        raise NothingToVerify(f"{folder} has neither {DATABASE} nor archived *.jsonl.gz files")
    found.use_key_of(folder)
    archived = 0
    if database.exists() or (folder / HEAD_FILE).exists():
        _verify_log(found, database)
        archived = _archived(database)
    if archive is not None:
        _verify_objects(found, _objects(archive), is_whole=True, archived=archived)
    elif archived:
        found.find("archive", f"{archived} entries were archived, and no object is there")


def _verify_log(found: _Verifier, database: Path) -> None:
    place = database.name
    found.use_key_of(database.parent)
    signed: SignedHead | None = None
    try:
        signed = found.want(_read(database.with_name(HEAD_FILE), HEAD_BYTES_MAX), HEAD_FILE)
    except OSError as error:
        found.find(HEAD_FILE, f"cannot be read ({error.strerror}): nobody can say where it ended")
    begin = genesis(found.public_key) if found.public_key else None
    head = found.check_lines(_rows(found, database), begin)
    found.head = head
    found.compare(signed, HEAD_FILE, head, place)
    if signed is not None and head.sequence > signed.sequence:
        count = head.sequence - signed.sequence
        found.notes.append(f"{count} entries behind the signed head are not signed yet")


def _archived(database: Path) -> int:
    """Up to which entry the log says that it was archived; 0 where that cannot be read."""
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            found = connection.execute("SELECT sequence FROM archived").fetchone()
    except sqlite3.Error:
        return 0
    return found[0] if found and isinstance(found[0], int) else 0


def _rows(found: _Verifier, database: Path) -> Iterator[tuple[str, bytes]]:
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        found.find(database.name, f"cannot be opened: {error}")
        return
    try:
        columns = ", ".join(_COLUMNS)
        for row in connection.execute(f"SELECT line, {columns} FROM entries ORDER BY sequence"):
            place, line = f"{database.name}, entry {row[1]}", row[0]
            if not isinstance(line, bytes):
                found.find(place, LINE_FINDINGS[LineFinding.MALFORMED])
                continue
            _compare_columns(found, place, line, row[1:])
            yield place, line
    except sqlite3.Error as error:
        found.find(database.name, f"cannot be read: {error}")
    finally:
        connection.close()


def _compare_columns(found: _Verifier, place: str, line: bytes, row: tuple[Any, ...]) -> None:
    try:
        known, _ = read_line(line)
    except MalformedLine:
        return
    entry = known.entry
    if row != (known.sequence, *(getattr(entry, name) for name in _COLUMNS[1:])):
        found.find(place, "was altered: what a search finds is not what the line says")


def _verify_objects(
    found: _Verifier, paths: list[Path], *, is_whole: bool, archived: int = 0
) -> None:
    found.use_key_of(paths[0].parent)
    begin = genesis(found.public_key) if is_whole and found.public_key else None
    signed = [(_want_checkpoint(found, path), path.name) for path in paths]
    head = found.check_lines((line for path in paths for line in _lines(found, path)), begin)
    for one, name in signed:
        found.compare(one, f"the head of {name}", head, name)
    if not found.head.sequence:
        found.head = head
    elif head.sequence < archived:
        found.find(paths[-1].name, f"the archive ends at entry {head.sequence}, and entries up to "
                                   f"{archived} were archived: objects were removed")  # fmt: skip


def _want_checkpoint(found: _Verifier, path: Path) -> SignedHead | None:
    beside = path.with_name(path.name.partition(".")[0] + ".head.json")
    try:
        return found.want(_read(beside, HEAD_BYTES_MAX), beside.name)
    except OSError:
        found.find(path.name, f"has no signed head {beside.name} beside it")
        return None


def _lines(found: _Verifier, path: Path) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        with contextlib.ExitStack() as opened:
            file: IO[bytes] | gzip.GzipFile = opened.enter_context(path.open("rb"))
            if path.suffix == ".gz":
                file = opened.enter_context(gzip.open(path))
            while line := file.readline(LINE_BYTES_MAX + 2):
                number += 1
                yield f"{path.name}:{number}", line.rstrip(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        found.find(f"{path.name}:{number + 1}", f"cannot be read: {type(error).__name__}")


def _before(line: bytes) -> ChainHead:
    """What a first line says was before it: all that can be known of a file on its own."""
    try:
        known, _ = read_line(line)
    except MalformedLine:
        return ChainHead(0, "")
    return ChainHead(known.sequence - 1, known.previous)


def _objects(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl.gz")) if folder.is_dir() else []


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)
