"""Manifests as files: CSV and JSON, with what people's programs do to them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.city import HARBOUR, generate, read_manifest, write_csv

ROWS = generate(HARBOUR, 1, 0, 20)
CSV = write_csv(ROWS)


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
    assert read_manifest(data) == (ROWS, [])


def test_rows_that_are_wrong_are_named_and_the_others_stay() -> None:
    lines = CSV.splitlines()
    lines[2] = lines[2].replace("street_lamp", "lamp_post")
    lines[3] += ",one cell too many"
    lines[5] = lines[4]
    found = read_manifest("\n".join(lines).encode())
    assert [row.endpoint for row in found.rows] == [
        row.endpoint for number, row in enumerate(ROWS) if number not in (1, 2, 4)
    ]
    assert [(error.row, error.field) for error in found.errors] == [
        (2, "model"),
        (3, "(beyond the last column)"),
        (5, "endpoint"),
    ]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[1, 2", b"[3]", b'{"a": 1}'])
def test_what_is_no_manifest_is_one_error(data: bytes) -> None:
    found = read_manifest(data)
    assert found.rows == []
    assert len(found.errors) == 1


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing(data: bytes) -> None:
    assert read_manifest(data).rows == []
