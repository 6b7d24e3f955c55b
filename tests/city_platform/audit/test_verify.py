"""Verification finds what was done to a log, to its archive, and to the end of both."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from city_platform.audit.chain import ChainHead, genesis
from city_platform.audit.command import app, read_expected
from city_platform.audit.signing import (
    DamagedKey,
    MalformedHead,
    open_signer,
    read_head,
    read_public_key,
)
from city_platform.audit.verify import DATABASE, HEAD_FILE, NothingToVerify, Verification, verify
from tests.city_platform.audit.logs import NOW_US, entry, keep, lines_of, signer_in

KEPT = 10


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    keep(folder, KEPT)
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy of a log of ten entries, archived in objects of at most four."""
    return Path(shutil.copytree(kept, tmp_path / "log"))


def texts(found: Verification) -> str:
    return "\n".join(f"{one.place}: {one.text}" for one in found.findings)


def change(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    for name in ("entries_stay", "entries_are_not_changed"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def archived(folder: Path) -> list[Path]:
    return sorted((folder / "objects/audit").glob("*.jsonl.gz"))


def rewrite(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join(edit(lines)) + b"\n"))


def test_an_untouched_log_is_intact(folder: Path) -> None:
    found = verify(folder)
    assert found.verdict == "intact", texts(found)
    # Once in the log, once in the archive.
    assert found.entries == 2 * KEPT
    assert found.head.sequence == KEPT
    assert found.signed_at_us == NOW_US


def test_the_archive_alone_and_each_of_its_files_are_intact(folder: Path) -> None:
    key = signer_in(folder).public_key
    assert verify(folder / "objects", key).verdict == "intact"
    assert verify(folder / "objects/audit", key).head.sequence == KEPT
    assert [verify(one, key).verdict for one in archived(folder)] == ["intact"] * len(
        archived(folder)
    )
    assert verify(folder / DATABASE).verdict == "intact"


def test_without_a_key_nobody_vouches_for_the_end(folder: Path) -> None:
    found = verify(folder / "objects")
    assert found.verdict == "inconclusive"
    assert "not known" in found.notes[-1]


def test_the_database_refuses_to_change_what_it_has(folder: Path) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    for statement in ("DELETE FROM entries", "UPDATE entries SET who = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE entries SET who = 'bob' WHERE sequence = 3", "entry 3: was altered"),
        (
            "UPDATE entries SET line = replace(line, 'lamp-2', 'lamp-9') WHERE sequence = 3",
            "entry 3",
        ),
        ("DELETE FROM entries WHERE sequence = 3", "entry 4: does not follow"),
        ("DELETE FROM entries WHERE sequence > 8", "the entries behind were removed"),
        ("DELETE FROM entries", "the entries behind were removed"),
        ("UPDATE entries SET line = 'text' WHERE sequence = 3", "no line of an audit log"),
        ("DROP TABLE entries", "cannot be read"),
    ],
)
def test_what_is_done_to_the_log_is_found(folder: Path, statement: str, says: str) -> None:
    change(folder, statement)
    found = verify(folder)
    assert found.verdict == "broken"
    assert says in texts(found)


def test_an_end_that_was_made_anew_is_not_the_one_that_was_signed(folder: Path) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    (line,) = connection.execute("SELECT line FROM entries WHERE sequence = 9").fetchone()
    connection.close()
    head = ChainHead(9, line[-66:-2].decode())
    forged = lines_of([entry(9, who="bob")], head)[0][0].decode()
    change(
        folder, f"UPDATE entries SET line = CAST('{forged}' AS BLOB), who = 'bob' WHERE sequence=10"
    )
    for at in (folder, folder / DATABASE):
        assert f"entry 10 is not the one {HEAD_FILE} was signed for" in texts(verify(at))
    assert "is not what the log has" in texts(verify(folder))


def test_a_head_that_is_gone_or_of_another_key_is_found(folder: Path, tmp_path: Path) -> None:
    stranger = open_signer(tmp_path / "other.key", lambda count: bytes([9]) * count)
    (folder / HEAD_FILE).write_bytes(stranger.sign_head(ChainHead(10, "0" * 64), NOW_US))
    assert "not of this log's key" in texts(verify(folder))
    (folder / HEAD_FILE).unlink()
    assert "nobody can say where it ended" in texts(verify(folder))


def test_a_database_that_is_gone_is_found_by_its_head(folder: Path) -> None:
    (folder / DATABASE).unlink()
    assert verify(folder).verdict == "broken"


def test_another_key_fits_nothing(folder: Path) -> None:
    stranger = signer_in(folder / "elsewhere", 5).public_key
    found = verify(folder, stranger)
    assert found.verdict == "broken"
    assert "not of this log's key" in texts(found)


def test_what_is_done_to_archived_lines_is_found(folder: Path) -> None:
    first, *_, last = archived(folder)
    rewrite(first, lambda lines: [lines[0], lines[1].replace(b"ann", b"bob"), *lines[2:]])
    assert f"{first.name}:2: was altered" in texts(verify(folder))
    rewrite(last, lambda lines: lines[:-1])
    assert "the entries behind were removed" in texts(verify(folder))


def test_archived_objects_that_were_removed_are_found(folder: Path) -> None:
    paths = archived(folder)
    assert len(paths) >= 3
    paths[1].unlink()
    assert "lines before it are missing" in texts(verify(folder))
    for path in paths[1:]:
        path.unlink(missing_ok=True)
        path.with_name(path.name.replace(".jsonl.gz", ".head.json")).unlink()
    assert "objects were removed" in texts(verify(folder))
    shutil.rmtree(folder / "objects")
    assert "no object is there" in texts(verify(folder))


def test_an_object_without_its_head_and_one_that_is_damaged_are_found(folder: Path) -> None:
    first, *_, last = archived(folder)
    first.with_name(first.name.replace(".jsonl.gz", ".head.json")).unlink()
    last.write_bytes(last.read_bytes()[:-9])
    said = texts(verify(folder))
    assert "has no signed head" in said
    assert "cannot be read: EOFError" in said


@given(st.binary(max_size=100))
def test_any_bytes_in_an_archived_file_are_findings(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "1.jsonl.gz"
    path.write_bytes(data)
    assert verify(path).verdict == "broken"
    plain = path.with_name("1.jsonl")
    plain.write_bytes(data)
    assert verify(plain).verdict == "broken"


def test_a_head_that_was_noted_must_be_in_the_log(folder: Path) -> None:
    head = verify(folder).head
    assert verify(folder, expected=head).verdict == "intact"
    # Somebody with the key made another log: what was noted elsewhere still tells.
    other = folder / "other"
    keep(other, 3, first=50)
    assert "is missing or was replaced" in texts(verify(other, expected=head))


def test_the_command_tells_and_exits_by_what_it_found(folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    good = run(app, ["verify", str(folder), "--key", str(folder / "audit.pub")])
    assert good.exit_code == 0, good.output
    head = good.output.partition("head: ")[2].splitlines()[0]
    assert run(app, ["verify", str(folder), "--expect", head]).exit_code == 0
    assert run(app, ["verify", str(folder), "--expect", f"5:{'0' * 64}"]).exit_code == 1
    assert run(app, ["verify", str(folder / "objects")]).exit_code == 2
    change(folder, "DELETE FROM entries WHERE sequence = 10")
    bad = run(app, ["verify", str(folder)])
    assert bad.exit_code == 1
    assert "broken" in bad.output
    for wrong in (["verify", str(tmp_path / "none")], ["verify", str(tmp_path)]):
        assert run(app, wrong).exit_code == 3
    assert run(app, ["verify", str(folder), "--key", str(folder / HEAD_FILE)]).exit_code == 3
    assert run(app, ["verify", str(folder), "--expect", "many"]).exit_code == 3


@given(st.text(max_size=90))
def test_any_text_is_a_head_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_expected(text).sequence >= 0


def test_a_path_that_is_no_log_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(NothingToVerify, match=r"neither audit\.sqlite nor"):
        verify(tmp_path)
    with pytest.raises(NothingToVerify, match="there is no"):
        verify(tmp_path / "absent")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedHead):
        read_head(data, bytes(32))
    with pytest.raises(DamagedKey):
        read_public_key(data)


@given(st.data())
def test_no_byte_of_a_signed_head_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    signer = signer_in(tmp_path_factory.mktemp("key"))
    head = ChainHead(7, genesis(signer.public_key).hash)
    document = bytearray(signer.sign_head(head, NOW_US))
    assert read_head(bytes(document), signer.public_key).head == head
    at = data.draw(st.integers(0, len(document) - 1))
    document[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedHead):
        read_head(bytes(document), signer.public_key)


def test_a_key_that_is_damaged_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "audit.key").write_text("not a key")
    with pytest.raises(DamagedKey, match=r"audit\.key is no private key"):
        signer_in(tmp_path)


def test_a_key_beside_the_log_that_cannot_be_read_is_told_and_not_passed_over(
    folder: Path,
) -> None:
    (folder / "audit.pub").write_text("nonsense")
    found = verify(folder)
    assert found.verdict == "broken"
    assert "audit.pub: cannot be read: not a public key" in texts(found)
    (folder / "audit.pub").unlink()
    assert verify(folder).verdict == "inconclusive"
