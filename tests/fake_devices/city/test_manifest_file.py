"""Manifests as files: CSV and JSON, with what people's programs do to them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.city import (
    HARBOUR,
    UnusableManifest,
    check_manifest,
    generate,
    read_manifest,
    write_manifest,
)

ROWS = generate(HARBOUR, 1, 0, 20)
CSV = write_manifest(ROWS).decode()


def _json_fields() -> list[dict[str, object]]:
    return [msgspec.to_builtins(row) | {"psk": None} for row in ROWS]


@pytest.mark.parametrize(
    "data",
    [
        CSV.encode(),
        b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(),
        msgspec.json.encode(_json_fields()),
        b"\n".join(msgspec.json.encode(fields) for fields in _json_fields()),
    ],
    ids=["csv", "csv with BOM and CRLF", "json array", "json lines"],
)
def test_every_form_of_a_manifest_gives_the_same_rows(data: bytes) -> None:
    assert check_manifest(data) == (ROWS, [])


def test_rows_that_are_wrong_are_named_and_the_others_stay() -> None:
    lines = CSV.splitlines()
    lines[2] = lines[2].replace("street_lamp", "lamp_post")
    lines[3] += ",one cell too many"
    lines[5] = lines[4]
    found = check_manifest("\n".join(lines).encode())
    assert [row.endpoint for row in found.rows] == [
        row.endpoint for number, row in enumerate(ROWS) if number not in (1, 2, 4)
    ]
    assert [(error.row, error.field) for error in found.errors] == [
        (2, "reports"),
        (3, "(beyond the last column)"),
        (5, "endpoint"),
    ]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[1, 2", b"[3]", b'{"a": 1}'])
def test_what_is_no_manifest_is_one_error(data: bytes) -> None:
    found = check_manifest(data)
    assert found.rows == []
    assert len(found.errors) == 1


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing(data: bytes) -> None:
    assert check_manifest(data).rows == []


texts = st.text(min_size=1, max_size=12).filter(str.isprintable)


@given(
    psk=st.none() | st.binary(min_size=16, max_size=64),
    reports=st.sets(st.sampled_from(["/3303/0", "/3304/0/5700", "/42769/1"])),
    group=texts,
    attributes=st.dictionaries(texts, st.text(max_size=12), max_size=4),
)
def test_whatever_a_row_holds_is_read_back(
    psk: bytes | None, reports: set[str], group: str, attributes: dict[str, str]
) -> None:
    row = msgspec.structs.replace(
        ROWS[0], psk=psk, reports=tuple(sorted(reports)), group=group, attributes=attributes
    )
    rows = [row, ROWS[1]]
    assert read_manifest(write_manifest(rows)) == rows


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no rows"),
        (b"endpoint,serial\n", "has no rows"),
        (b"endpoint\nx\n", "row 1: "),
        (b"\xff", "is not UTF-8 at byte 0"),
    ],
)
def test_a_manifest_without_a_usable_row_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableManifest, match=reason):
        read_manifest(data)
