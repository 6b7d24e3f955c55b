"""The security store: what goes in stays in, and comes out for DTLS alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.lwm2m_server.security_store import (
    STORE_NAME,
    InvalidRow,
    SecurityRow,
    SecurityStore,
    StoreFull,
    decode_row,
)

KEY = bytes(range(16))


def row(endpoint: str, identity: str = "", key: bytes = KEY) -> SecurityRow:
    return SecurityRow(endpoint=endpoint, identity=identity or f"id-{endpoint}", key=key)


def test_rows_live_through_a_kill_and_their_file_is_the_owners_alone(tmp_path: Path) -> None:
    store = SecurityStore(tmp_path, rows_max=10)
    assert store.put(row("a"))
    assert not store.put(row("a"))
    assert store.put(row("b"))
    assert store.remove("b")
    assert not store.remove("b")
    store.flush()
    assert (tmp_path / STORE_NAME).stat().st_mode & 0o777 == 0o600
    with (tmp_path / STORE_NAME).open("ab") as file:
        file.write(b'{"endpoint":"c","iden')  # a kill cut the next one short
    again = SecurityStore(tmp_path, rows_max=10)
    assert again.key_of("id-a") == ("a", KEY)
    assert again.key_of("id-b") is None
    assert len(again) == 1
    again.close()
    store.close()
    store.close()


def test_a_changed_key_or_identity_replaces_the_old(tmp_path: Path) -> None:
    store = SecurityStore(tmp_path, rows_max=10)
    store.put(row("a"))
    store.put(row("a", "other", KEY * 2))
    store.flush()
    assert store.key_of("id-a") is None
    assert store.key_of("other") == ("a", KEY * 2)
    store.close()
    again = SecurityStore(tmp_path, rows_max=10)
    assert again.key_of("other") == ("a", KEY * 2)
    assert len(again) == 1
    again.close()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (row("a/b", "x"), "endpoint"),
        (row("svc:tap", "x"), "endpoint"),
        (row("a", "i" * 129), "identity"),
        (row("a", key=b"short"), "key"),
        (row("a", key=b"x" * 65), "key"),
        (row("a", "id-taken"), "another device"),
    ],
)
def test_a_bad_row_is_refused_and_its_key_not_repeated(
    tmp_path: Path, bad: SecurityRow, field: str
) -> None:
    store = SecurityStore(tmp_path, rows_max=10)
    store.put(row("taken"))
    with pytest.raises(InvalidRow, match=field) as refused:
        store.put(bad)
    assert "short" not in str(refused.value)
    assert repr(bad.key) not in repr(bad)
    store.close()


def test_a_full_store_takes_changes_and_no_new_rows(tmp_path: Path) -> None:
    store = SecurityStore(tmp_path, rows_max=1)
    store.put(row("a"))
    store.put(row("a", "new"))
    with pytest.raises(StoreFull):
        store.put(row("b"))
    store.close()


def test_the_file_is_compacted_when_most_of_it_is_history(tmp_path: Path) -> None:
    store = SecurityStore(tmp_path, rows_max=10)
    for number in range(12_000):
        store.put(row("a", f"id-{number}"))
        if number % 1_000 == 0:
            store.flush()
    store.flush()
    assert len((tmp_path / STORE_NAME).read_bytes().splitlines()) < 2_000
    store.put(row("b"))
    store.flush()
    store.close()
    again = SecurityStore(tmp_path, rows_max=10)
    assert again.key_of("id-11999") == ("a", KEY)
    assert again.has("b")
    again.close()


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\xff", b'{"endpoint":"a","key":"!!"}'])
def test_a_line_that_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRow):
        decode_row(line)
