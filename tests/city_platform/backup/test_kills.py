"""Kill -9 of a backup and of a restore at every step: what is there is whole, or is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from city_platform.backup import BackupRefused, back_up, restore
from city_platform.backup.staging import staging_beside
from tests.city_platform.backup.test_backup import NOW_US, SECRET, files_of, filled

PROGRAM = Path(__file__).with_name("killed_at_each_step.py")
WITHIN_S = 300


def kills(what: str, source: Path, folder: Path) -> int:
    """How many kills it took until it came to its end."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(source), str(folder)],
        capture_output=True, text=True, timeout=WITHIN_S, check=False,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[3])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return int(done.stdout)


@pytest.mark.slow
def test_a_backup_that_was_killed_is_whole_or_not_there_and_can_be_made_again(
    tmp_path: Path,
) -> None:
    state = filled(tmp_path / "state")
    before = files_of(state)
    steps = kills("backup", state, tmp_path / "places")
    assert steps > 20
    whole = set()
    for step in range(steps + 1):
        place = tmp_path / "places" / str(step)
        left = {path.name for path in place.iterdir()}
        assert all(path.stat().st_mode & 0o077 == 0 for path in place.iterdir()), "it has keys"
        if "b" not in left and step % 4:
            continue  # all of them take longer than they tell
        if "b" not in left:
            back_up(state, place / "b", NOW_US, with_keys=True)
            assert {path.name for path in place.iterdir()} == {"b"}
        else:
            whole.add(step)
            with pytest.raises(BackupRefused, match="choose another name"):
                back_up(state, place / "b", NOW_US, with_keys=True)
        restore(place / "b", place / "new")
        assert (place / "new/pki/device.key").read_bytes() == SECRET
        assert set(files_of(place / "new")) == set(before)
    assert steps in whole
    assert 0 not in whole


@pytest.mark.slow
def test_a_restore_that_was_killed_is_whole_or_not_there_and_can_be_done_again(
    tmp_path: Path,
) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US, with_keys=True)
    restore(tmp_path / "b", tmp_path / "reference")
    expected = files_of(tmp_path / "reference")
    steps = kills("restore", tmp_path / "b", tmp_path / "places")
    assert steps > 10
    whole = set()
    for step in range(steps + 1):
        place = tmp_path / "places" / str(step)
        if (place / "new").exists():
            whole.add(step)
            with pytest.raises(BackupRefused, match="is not empty: restore into a new folder"):
                restore(tmp_path / "b", place / "new")
        else:
            restore(tmp_path / "b", place / "new")
        assert files_of(place / "new") == expected
        assert {path.name for path in place.iterdir()} == {"new"}
    assert steps in whole
    assert 0 not in whole


def test_what_another_is_making_is_not_taken_away(tmp_path: Path) -> None:
    target = tmp_path / "b"
    with staging_beside(target) as first, staging_beside(target) as second:
        assert first != second
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_only_looks_like_ours_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("kept")
    (tmp_path / ".b.link.partial").symlink_to(elsewhere)
    for name in (".c.12.partial", "b.12.partial", ".b.12.partial.gz", ".b.12.34.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / ".b.12.partial.tar").write_text("of an earlier version")
    before = {path.name for path in tmp_path.iterdir()}
    with staging_beside(tmp_path / "b"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == before - {".b.12.partial.tar"}
    assert (elsewhere / "file").read_text() == "kept"


def test_a_mount_point_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "volume")
    with pytest.raises(BackupRefused, match="restore into a new folder in it"):
        restore(tmp_path / "b", tmp_path / "volume")


def test_a_folder_is_restored_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(filled(tmp_path / "state"), tmp_path / "b", NOW_US)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    restore(tmp_path / "b", Path())
    assert "settings.json" in files_of(tmp_path / "here")
