"""The store of OSCORE contexts: keys stay in, and no sequence number is ever given twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.lwm2m_server.oscore_store import (
    STORE_NAME,
    OscoreRow,
    OscoreStore,
    check_row,
    decode_row,
)
from harness.lwm2m_server.security_store import InvalidRow, StoreFull

SECRET = bytes(range(16))


def row(endpoint: str, device_id: bytes = b"", **fields: object) -> OscoreRow:
    named: dict[str, object] = {
        "endpoint": endpoint,
        "master_secret": SECRET,
        "sender_id": b"s",
        "recipient_id": device_id or endpoint.encode(),
    }
    return msgspec.convert(named | fields, OscoreRow)


def opened(directory: Path, **limits: int) -> OscoreStore:
    return OscoreStore(directory, **({"rows_max": 10} | limits))


def test_rows_and_sequence_numbers_live_through_a_kill(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.put(row("a"))
    assert not store.put(row("a"))
    store.put(row("b"))
    store.reserve(row("a").key, 256)
    store.remove("b")
    assert not store.remove("b")
    store.flush()
    store.flush()
    assert (tmp_path / STORE_NAME).stat().st_mode & 0o777 == 0o600
    with (tmp_path / STORE_NAME).open("ab") as file:
        file.write(b'{"reserved":"0')  # a kill cut the next one short: nothing has left
    again = opened(tmp_path)
    assert list(again.rows) == ["a"]
    assert again.next_sequence(row("a")) == 256
    again.close()
    store.close()
    store.close()


def test_material_that_comes_back_goes_on_behind_what_it_used(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.put(row("a"))
    store.reserve(row("a").key, 512)
    store.put(row("a", master_secret=b"another secret"))
    assert store.next_sequence(store.rows["a"]) == 0
    store.remove("a")
    store.flush()
    store.close()
    again = opened(tmp_path)
    again.put(row("a"))
    assert again.next_sequence(row("a")) == 512
    again.close()


def test_a_reservation_for_a_context_that_is_gone_is_no_ones(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.reserve((b"gone", None), 256)
    store.put(row("gone"))
    assert store.next_sequence(row("gone")) == 0
    store.close()


def test_numbers_are_never_taken_back(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.put(row("a"))
    store.reserve(row("a").key, 512)
    store.reserve(row("a").key, 256)
    assert store.next_sequence(row("a")) == 512
    store.close()


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (row("a/b", b"d"), "endpoint"),
        (row("a", b"taken"), "another device's context"),
        (row("a", b"s"), "the same"),
        (row("a", b"12345678"), "at most 7 bytes"),
        (row("a", master_secret=b""), "no master secret"),
        (row("a", master_secret=b"x" * 257), "master_secret"),
        (row("a", aead_algorithm=99), "AEAD algorithm 99"),
        (row("a", hkdf_algorithm=99), "HKDF algorithm 99"),
        (row("a", id_context=b"x" * 256), "id context"),
    ],
)
def test_a_bad_row_is_refused_and_its_secret_not_repeated(
    tmp_path: Path, bad: OscoreRow, told: str
) -> None:
    store = opened(tmp_path)
    store.put(row("taken"))
    with pytest.raises(InvalidRow, match=told) as refused:
        store.put(bad)
    assert repr(SECRET) not in str(refused.value)
    assert repr(bad.master_secret) not in repr(bad) or not bad.master_secret
    store.close()


def test_two_devices_may_have_one_id_in_two_contexts(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.put(row("a", b"d", id_context=b"one"))
    store.put(row("b", b"d", id_context=b"two"))
    assert len(store.rows) == 2
    store.close()


def test_a_full_store_takes_changes_and_no_new_rows(tmp_path: Path) -> None:
    store = opened(tmp_path, rows_max=1)
    store.put(row("a"))
    with pytest.raises(StoreFull, match="1 OSCORE contexts"):
        store.put(row("b"))
    for number in range(3):
        store.put(row("a", master_secret=bytes([number + 1])))
    with pytest.raises(StoreFull, match="another state_dir"):
        store.put(row("a", master_secret=b"one too many"))
    store.close()


def test_the_file_is_compacted_when_most_of_it_is_history(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.put(row("a"))
    for number in range(12_000):
        store.reserve(row("a").key, number)
        if number % 1_000 == 0:
            store.flush()
    store.flush()
    assert len((tmp_path / STORE_NAME).read_bytes().splitlines()) < 2_000
    store.close()
    again = opened(tmp_path)
    assert again.next_sequence(row("a")) == 11_999
    again.close()


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\xff", b'{"endpoint":"a","sender_id":"!"}'])
def test_a_line_that_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRow, match="master_secret"):
        decode_row(line)


def test_what_is_synced_is_the_same(tmp_path: Path) -> None:
    store = OscoreStore(tmp_path, rows_max=1, sync=True)
    store.put(row("a"))
    store.flush()
    store.close()
    assert list(opened(tmp_path).rows) == ["a"]
    check_row(row("a"))
