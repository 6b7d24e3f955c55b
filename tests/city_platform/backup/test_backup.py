"""Backing up while components write, restoring elsewhere, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from city_platform.backup import BackupRefused, back_up, restore
from city_platform.backup import taking as taking_module
from city_platform.backup.archive import DATA, MANIFEST, Entry, Manifest, check_name
from city_platform.backup.command import backup as backup_command
from city_platform.backup.command import restore as restore_command
from city_platform.backup.stores import store_of
from city_platform.control.rows import CommandRow
from city_platform.control.store import CommandStore
from city_platform.ingestion.spool import Spool, SpoolReader
from city_platform.stores.sqlite import open_database, transaction
from contracts.api import CommandRequest, DeviceRecord
from tests.city_platform.provisioning.installation import installed

NOW_US = 1_795_000_000_000_000
SECRET = b"a key that nobody may see"


def filled(folder: Path) -> Path:
    """A folder with a store of each kind."""
    folder.mkdir()
    database = open_database(folder / "control.sqlite", "CREATE TABLE t (n INTEGER)", version=3)
    with transaction(database):
        database.execute("INSERT INTO t VALUES (1)")
    database.close()
    secret = folder / "pki/device.key"
    secret.parent.mkdir()
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    (folder / "pki/ca.pem").write_text("a certificate")
    (folder / "settings.json").write_text("{}")
    (folder / "api_token").write_bytes(SECRET)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_was_backed_up_is_restored(tmp_path: Path) -> None:
    folder = filled(tmp_path / "state")
    back_up(folder, tmp_path / "b", NOW_US, with_keys=True)
    restored = restore(tmp_path / "b", tmp_path / "new")
    assert restored.manifest.made_at_us == NOW_US
    assert set(files_of(tmp_path / "new")) == set(files_of(folder))
    assert (tmp_path / "new/pki/device.key").read_bytes() == SECRET
    assert (tmp_path / "new/pki/device.key").stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(tmp_path / "new/control.sqlite")) as database:
        assert database.execute("SELECT n FROM t").fetchall() == [(1,)]
        assert database.execute("PRAGMA user_version").fetchone() == (3,)


def test_keys_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    taken = back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    assert taken.left_out == ["api_token", "pki/device.key"]
    assert SECRET not in gzip.decompress((tmp_path / "b").read_bytes())
    restored = restore(tmp_path / "b", tmp_path / "new")
    assert restored.manifest.left_out == taken.left_out
    assert set(files_of(tmp_path / "new")) == {"control.sqlite", "pki/ca.pem", "settings.json"}


def test_a_backup_is_its_owner_s_alone_with_keys_and_without(tmp_path: Path) -> None:
    folder = filled(tmp_path / "state")
    for with_keys in (False, True):
        out = tmp_path / f"b-{with_keys}"
        back_up(folder, out, NOW_US, with_keys=with_keys)
        assert out.stat().st_mode & 0o777 == 0o600


def test_nothing_else_is_left_behind(tmp_path: Path) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    restore(tmp_path / "b", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"state", "b", "new"}


@pytest.mark.parametrize(
    ("name", "mode", "head", "has_keys"),
    [
        ("keys.sqlite", 0o644, b"SQLite format 3\x00", True),
        ("identity/users.sqlite", 0o600, b"SQLite format 3\x00", True),
        ("control/control.sqlite", 0o600, b"SQLite format 3\x00", False),
        ("outboxes/audit_outbox_control.sqlite", 0o600, b"SQLite format 3\x00", False),
        ("objects/credentials/lamp-1.json", 0o600, b"{", True),
        ("objects/audit/1.jsonl.gz", 0o600, b"\x1f\x8b", False),
        ("objects/archive/1.gz", 0o644, b"\x1f\x8b", False),
        ("uploads/1.manifest", 0o644, b"endpoint,", True),
        ("any.pem", 0o644, b"-----BEGIN EC PRIVATE KEY-----", True),
        ("any", 0o600, b"", True),
        ("pki/ca.pem", 0o644, b"-----BEGIN CERTIFICATE-----", False),
    ],
)
def test_what_holds_keys_is_known(name: str, mode: int, head: bytes, has_keys: bool) -> None:
    assert store_of(name, mode, head).has_keys == has_keys


# ---- while components run ----

MANIFEST_ROWS = b"""\
endpoint,serial,model,tenant,site,street,latitude,longitude,installed_on,psk_identity,attributes
lamp-1,S1,street_lamp,harbour,pier,Quay,53.5446884,8.5706601,2022-05-05,S1,
lamp-2,S2,street_lamp,harbour,pier,Quay,53.5448683,8.5709961,2022-05-05,S2,
"""
HEADER, FIRST, SECOND = (line + b"\n" for line in MANIFEST_ROWS.splitlines())


@pytest.mark.slow
def test_a_running_provisioning_is_backed_up_and_answers_the_same_elsewhere(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path) as found:
            await found.bring(HEADER + FIRST)
            answered = await found.client.get("/v1/devices/lamp-1", DeviceRecord)
            # Another import runs while the backup is taken.
            loop = asyncio.get_running_loop()
            _, taken = await asyncio.gather(
                found.bring(HEADER + SECOND),
                loop.run_in_executor(
                    None, lambda: back_up(found.state, tmp_path / "b", NOW_US, with_keys=True)
                ),
            )
            assert taken.left_out == []
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        restore(tmp_path / "b", elsewhere / "state")
        async with installed(elsewhere) as other:
            assert await other.client.get("/v1/devices/lamp-1", DeviceRecord) == answered
            # What was under way is there whole or not at all; doing it again brings it.
            job, _ = await other.bring(HEADER + SECOND)
            assert job.state == "finished"
            await other.client.get("/v1/devices/lamp-2", DeviceRecord)

    asyncio.run(story())


def test_a_database_is_copied_as_it_is_at_one_moment_while_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    database = open_database(
        folder / "control.sqlite", "CREATE TABLE t (n INTEGER); CREATE TABLE u (n INTEGER)"
    )
    with transaction(database):
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("INSERT INTO u VALUES (1)")
    # A second transaction is open, half done, and its pages are in the log.
    database.execute("PRAGMA cache_size=1")
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(5_000)])
    back_up(folder, tmp_path / "b", NOW_US)
    database.execute("INSERT INTO u VALUES (2)")
    database.execute("COMMIT")
    database.close()
    restore(tmp_path / "b", tmp_path / "new")
    with contextlib.closing(sqlite3.connect(tmp_path / "new/control.sqlite")) as copy:
        assert copy.execute("SELECT n FROM t").fetchall() == [(1,)]
        assert copy.execute("SELECT n FROM u").fetchall() == [(1,)]
    assert list(files_of(tmp_path / "new")) == ["control.sqlite"]


def test_the_commands_of_a_control_that_runs_are_there_afterwards(tmp_path: Path) -> None:
    row = CommandRow(
        id="cmd-1", endpoint="lamp-1", request=CommandRequest(operation="read", path="/3/0/9"),
        state="queued", issued_at_us=1, expires_at_us=2,
    )  # fmt: skip

    async def story() -> None:
        store = CommandStore(tmp_path / "state/control.sqlite")
        await store.put(row)
        back_up(tmp_path / "state", tmp_path / "b", NOW_US)
        await store.close()
        restore(tmp_path / "b", tmp_path / "new")
        copy = CommandStore(tmp_path / "new/control.sqlite")
        assert await copy.open_commands() == [row]
        await copy.close()

    asyncio.run(story())


def test_a_spool_file_that_is_deleted_meanwhile_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state"
    spool = Spool(folder / "spool", segment_bytes=100)
    for number in range(6):
        spool.append([(number, "t", b"x" * 60)])
    open_database(folder / "telemetry.sqlite", "CREATE TABLE t (n INTEGER)").close()
    copied = taking_module._copy_database

    def and_meanwhile(*arguments: object) -> Entry:
        # Ingestion goes on: it has stored three more, and takes another one.
        found = copied(*arguments)  # type: ignore[arg-type] # as it was called
        spool.drop_before(3)
        spool.append([(6, "t", b"the newest")])
        return found

    monkeypatch.setattr(taking_module, "_copy_database", and_meanwhile)
    back_up(folder, tmp_path / "b", NOW_US)
    spool.close()
    restore(tmp_path / "b", tmp_path / "new")
    reader = SpoolReader(tmp_path / "new/spool", 0)
    found = reader.read(7, 100, 10_000)
    reader.close()
    assert [message.received_us for message in found] == list(range(7))


# ---- refused ----


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = filled(tmp_path / "state")
    (tmp_path / "b").write_text("mine")
    with pytest.raises(BackupRefused, match="is there already"):
        back_up(folder, tmp_path / "b", NOW_US)
    assert (tmp_path / "b").read_text() == "mine"


def test_a_folder_with_something_in_it_is_not_restored_into(tmp_path: Path) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    with pytest.raises(BackupRefused, match="is not empty"):
        restore(tmp_path / "b", tmp_path / "state")
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "b", tmp_path / "empty")
    assert (tmp_path / "empty/settings.json").exists()


@pytest.mark.parametrize(
    ("folder", "out", "reason"),
    [
        ("absent", "b", "is no folder"),
        ("state", "absent/b", "is no folder"),
        ("state", "state/b", "lies in what is backed up"),
        ("state", "state/pki/../b", "lies in what is backed up"),
    ],
)
def test_places_that_cannot_be_are_refused(
    tmp_path: Path, folder: str, out: str, reason: str
) -> None:
    filled(tmp_path / "state")
    with pytest.raises(BackupRefused, match=reason):
        back_up(tmp_path / folder, tmp_path / out, NOW_US)


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(tmp_path: Path) -> None:
    folder = filled(tmp_path / "state")
    data = bytearray((folder / "control.sqlite").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (folder / "control.sqlite").write_bytes(data)
    with pytest.raises(BackupRefused, match=r"control\.sqlite"):
        back_up(folder, tmp_path / "b", NOW_US)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_backup_that_was_cut_short_is_refused(tmp_path: Path, at: float) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(data[: int(len(data) * at)])
    with pytest.raises(BackupRefused):
        restore(tmp_path / "b", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"state", "b"}


def test_a_backup_with_any_byte_changed_is_refused_or_restores_what_was(tmp_path: Path) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    restore(tmp_path / "b", tmp_path / "new")
    whole = files_of(tmp_path / "new")
    data = (tmp_path / "b").read_bytes()
    for at in range(0, len(data), max(1, len(data) // 60)):
        (tmp_path / "c").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        into = tmp_path / f"into-{at}"
        try:
            restore(tmp_path / "c", into)
        except BackupRefused:
            assert not into.exists()
        else:
            assert files_of(into) == whole


@pytest.mark.parametrize(
    "content", [b"", b"no backup", gzip.compress(b"no tar", mtime=0), b"\x1f\x8b"]
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(BackupRefused):
        restore(tmp_path / "b", tmp_path / "new")


def packed(
    path: Path, entries: list[Entry], members: list[tuple[str, bytes]], /, **changes: object
) -> None:
    """A backup as somebody else might make it."""
    manifest = {
        **msgspec.to_builtins(
            Manifest(
                format="lamplighter-backup", version=1, made_at_us=1, with_keys=False,
                entries=entries, left_out=[],
            )
        ),
        **changes,
    }  # fmt: skip
    with tarfile.open(path, "w:gz") as tar:
        for name, content in [(MANIFEST, msgspec.json.encode(manifest)), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def entry(name: str, size_bytes: int = 0, mode: int = 0o644) -> Entry:
    # SHA-256 of nothing.
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return Entry(name=name, kind="file", size_bytes=size_bytes, sha256=empty, mode=mode)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/../../x", "", ".", "..", "a//b", "a/./b", "a/", "a\\b", "a\nb", "a\0b"],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackupRefused):
        check_name(name)
    packed(tmp_path / "b", [entry(name)], [(DATA + name.replace("\0", ""), b"")])
    with pytest.raises(BackupRefused, match="no file below its folder"):
        restore(tmp_path / "b", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"b"}


@pytest.mark.parametrize(
    ("entries", "members", "reason"),
    [
        ([entry("a")], [("data/../../x", b"")], "belongs"),
        ([entry("a")], [("x", b"")], "belongs"),
        ([entry("a")], [], "ends before"),
        ([entry("a")], [("data/a", b"more")], "larger than"),
        ([entry("a", 4)], [("data/a", b"")], "not what was backed up"),
        ([entry("a")], [("data/a", b""), ("data/b", b"")], "more than"),
        ([entry("a"), entry("a")], [("data/a", b"")], "twice"),
        ([entry("a", mode=0o4755)], [("data/a", b"")], "mode"),
    ],
)
def test_a_backup_that_differs_from_its_manifest_is_refused(
    tmp_path: Path, entries: list[Entry], members: list[tuple[str, bytes]], reason: str
) -> None:
    packed(tmp_path / "b", entries, members)
    with pytest.raises(BackupRefused, match=reason):
        restore(tmp_path / "b", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"b"}


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "b", [entry("a")], [])
    with tarfile.open(tmp_path / "b", "r:gz") as tar:
        manifest = tar.extractfile(MANIFEST)
        assert manifest is not None
        content = manifest.read()
    with tarfile.open(tmp_path / "b", "w:gz") as tar:
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("data/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BackupRefused, match="belongs"):
        restore(tmp_path / "b", tmp_path / "new")


def test_a_backup_of_a_newer_program_is_refused_and_says_so(tmp_path: Path) -> None:
    packed(tmp_path / "b", [], [], version=2, entries="in another form")
    with pytest.raises(BackupRefused, match="format 2, this program reads up to 1"):
        restore(tmp_path / "b", tmp_path / "new")


def test_a_backup_of_something_else_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "b", [], [], format="other")
    with pytest.raises(BackupRefused, match="no backup of Lamplighter"):
        restore(tmp_path / "b", tmp_path / "new")


# ---- the commands ----


def _command(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


def test_the_commands_say_what_they_did_and_what_holds_keys(tmp_path: Path) -> None:
    folder = filled(tmp_path / "state")
    run = CliRunner().invoke
    made = run(_command(backup_command), [str(folder), "--out", str(tmp_path / "b")])
    assert made.exit_code == 0, made.output
    assert "left out, they hold keys (--with-keys takes them): api_token, pki/device.key" in (
        made.stdout
    )
    whole = run(
        _command(backup_command), [str(folder), "--out", str(tmp_path / "k"), "--with-keys"]
    )
    assert "it has private keys" in whole.stdout
    told = run(_command(restore_command), [str(tmp_path / "b"), "--into", str(tmp_path / "new")])
    assert told.exit_code == 0, told.output
    assert "3 files as of " in told.stdout
    assert "not in this backup, they hold keys: api_token" in told.stdout


def test_a_refusal_is_one_line_and_exit_3(tmp_path: Path) -> None:
    run = CliRunner().invoke
    refused = run(_command(backup_command), [str(tmp_path / "no"), "--out", str(tmp_path / "b")])
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
    again = run(_command(restore_command), [str(tmp_path / "no"), "--into", str(tmp_path / "new")])
    assert (again.exit_code, again.stderr.count("\n")) == (3, 1)
