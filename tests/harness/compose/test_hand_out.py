"""Each container gets its own certificate, and the authority's key stays where it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from city_platform.provisioning.crl import write_first_lists
from city_platform.provisioning.pki import open_pki
from harness.compose.hand_out import hand_out, handed_out
from harness.compose.installation import CLIENTS
from harness.errors import ScenarioError

NOW_US = 1_780_000_000_000_000


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "pki"
    folder.parent.mkdir()
    authorities = open_pki(folder, CLIENTS.values(), ["broker"], NOW_US, os.urandom)
    write_first_lists(folder, authorities, NOW_US)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for holder in {each.holder for each in handed_out()}:
        (tmp_path / "all" / holder).mkdir(parents=True)
    return tmp_path / "all"


def test_everybody_gets_their_own_certificate_and_key(pki: Path, root: Path) -> None:
    done = pki.parent / "handed_out"
    hand_out(pki, root, done)
    for holder, identity in CLIENTS.items():
        own = root / holder / "certificates"
        file = identity.replace(":", "_")
        assert (own / "own.pem").read_bytes() == (pki / f"{file}.pem").read_bytes()
        assert (own / "own.key").read_bytes() == (pki / f"{file}.key").read_bytes()
        assert stat.S_IMODE((own / "own.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert done.exists()


def test_no_key_goes_to_two(pki: Path, root: Path) -> None:
    hand_out(pki, root, pki.parent / "handed_out")
    keys = [path.read_bytes() for path in root.rglob("*.key")]
    assert len(set(keys)) == len(keys) == len(CLIENTS) + 1
    assert (pki / "ca.key").read_bytes() not in keys


def test_only_what_has_changed_is_written(pki: Path, root: Path) -> None:
    done = pki.parent / "handed_out"
    assert hand_out(pki, root, done) == len(list(handed_out()))
    assert hand_out(pki, root, done) == 0
    (pki / "crl.pem").write_bytes(b"another list")
    assert hand_out(pki, root, done) == 1
    assert (root / "broker" / "certificates" / "crl.pem").read_bytes() == b"another list"


def test_a_key_is_there_before_the_certificate_that_needs_it() -> None:
    order = [(each.holder, each.name) for each in handed_out()]
    for holder in {holder for holder, _ in order}:
        assert order.index((holder, "own.key")) < order.index((holder, "own.pem"))


def test_what_is_missing_is_told_and_nobody_counts_as_served(pki: Path, root: Path) -> None:
    done = pki.parent / "handed_out"
    (pki / "crl.pem").unlink()
    with pytest.raises(ScenarioError, match=r"were not handed out: .*crl\.pem"):
        hand_out(pki, root, done)
    assert not done.exists()
