"""Manifests become rows, whatever their form, their mistakes and the size of the pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.provisioning.manifest_reader import ManifestReader, RawRow, UnreadableManifest
from contracts.manifest import InvalidField, read_row
from tests.city_platform.provisioning.rows import COLUMNS, as_csv, row


def read(data: bytes, piece: int = 7, row_bytes_max: int = 4_096) -> list[RawRow]:
    """All rows, the file arriving in pieces."""
    reader = ManifestReader(row_bytes_max)
    rows: list[RawRow] = []
    for start in range(0, len(data), piece):
        rows += reader.feed(data[start : start + piece])
    return rows + reader.finish()


def endpoints(rows: list[RawRow]) -> list[object]:
    return [found.fields.get("endpoint") for found in rows]


FORMS = {
    "csv": as_csv([row(1), row(2)]),
    "csv_from_a_spreadsheet": as_csv([row(1), row(2)], line_end="\r\n", mark=True),
    "json_array": json.dumps([row(1), row(2)]).encode(),
    "json_array_indented": b"\xef\xbb\xbf" + json.dumps([row(1), row(2)], indent=2).encode(),
    "json_lines": "\n".join(json.dumps(row(number)) for number in (1, 2)).encode(),
    "json_lines_crlf": "\r\n".join([*(json.dumps(row(n)) for n in (1, 2)), ""]).encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_every_form_gives_the_same_rows(form: str, piece: int) -> None:
    rows = read(FORMS[form], piece)
    assert [found.number for found in rows] == [1, 2]
    assert [dict(found.fields) for found in rows] == [row(1), row(2)]
    assert [read_row(found.fields).endpoint for found in rows] == ["lamp-1", "lamp-2"]


@pytest.mark.parametrize(
    "data", [b"", b"  \r\n \t", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", b"\n" * 99]
)
def test_an_empty_file_is_called_empty(data: bytes) -> None:
    with pytest.raises(UnreadableManifest, match="empty"):
        read(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "neither JSON nor CSV"),
        (b"hello world\nthis is no manifest\n", "separated by commas"),
        (b"endpoint;serial;model\n", "separated by commas"),
        ("endpoint,serial".encode("utf-16"), "UTF-16"),
        (
            as_csv([], columns=[c for c in COLUMNS if c not in ("latitude", "site")]),
            "site, latitude",
        ),
        (as_csv([], columns=[*COLUMNS, "colour"]), "unknown columns: colour"),
        (as_csv([], columns=[*COLUMNS, "site"]), "twice: site"),
        (b"[1, 2", "without its closing"),
        (b'[{"endpoint": "a"} {"endpoint": "b"}]', "after row 1: unexpected '{'"),
        (b"[,]", "unexpected ','"),
        (b"[]x", "after row 0: unexpected 'x'"),
        (b'[{"endpoint": "' + b"x" * 9_000 + b'"}]', "longer than 4096"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableManifest, match=says):
        read(data)


def test_rows_before_an_unreadable_place_are_handed_out_first() -> None:
    reader = ManifestReader()
    rows = reader.feed(b'[{"endpoint": "a"}, {"endpoint": "b"} oops')
    assert endpoints(rows) == ["a", "b"]
    with pytest.raises(UnreadableManifest, match="after row 2"):
        reader.feed(b"]")


def test_a_bad_csv_row_costs_only_itself() -> None:
    lines = as_csv([row(number) for number in range(1, 6)]).split(b"\n")
    lines[2] = b"too,few,cells"
    lines[3] = b"\xff\xfe" + lines[3]
    lines[4] = b'"never closed,' + lines[4]
    rows = read(b"\n".join(lines))
    assert [found.number for found in rows] == [1, 2, 3, 4, 5]
    reasons = [found.error.reason if found.error else "" for found in rows]
    assert reasons[0] == reasons[4] == ""
    assert "has 3 cells, the header has 12" in reasons[1]
    assert "UTF-8" in reasons[2]
    assert "never closed" in reasons[3]


def test_a_quoted_cell_may_hold_commas_quotes_and_line_ends() -> None:
    street = 'Kade 1, "west"\nback yard'
    (found,) = read(as_csv([row(1, street=street)], line_end="\r\n"))
    assert str(found.fields["street"]).replace("\r", "") == street


def test_a_line_that_is_too_long_is_skipped_without_being_held() -> None:
    data = as_csv([row(1), row(2, street="x" * 9_000), row(3)])
    rows = read(data, piece=500)
    assert endpoints(rows) == ["lamp-1", None, "lamp-3"]
    assert rows[1].error is not None
    assert "longer than 4096 bytes" in rows[1].error.reason


def test_what_is_no_object_in_json_is_refused_by_row() -> None:
    array = b'[{"endpoint": "a"}, 7, "x", [1, [2]], null, {"endpoint": "b"}, {"endpoint": }]'
    rows = read(array)
    assert endpoints(rows) == ["a", None, None, None, None, "b", None]
    lines = b'{"endpoint": "a"}\n7\n{"endpoint"\n\n{"endpoint": "b"}\n'
    rows = read(lines)
    assert endpoints(rows) == ["a", None, None, "b"]
    assert [found.number for found in rows] == [1, 2, 3, 4]


def test_brackets_and_quotes_inside_json_texts_do_not_end_a_row() -> None:
    tricky = {**row(1), "street": 'a "]}[{\\" b', "attributes": {"k": "}]"}}
    (found,) = read(json.dumps([tricky]).encode(), piece=1)
    assert found.fields == tricky


@settings(max_examples=60)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_arbitrary_bytes_are_rows_or_an_unreadable_manifest(data: bytes, piece: int) -> None:
    try:
        rows = read(data, piece, row_bytes_max=100)
    except UnreadableManifest:
        return
    assert [found.number for found in rows] == list(range(1, len(rows) + 1))


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 50))
def test_arbitrary_csv_lines_never_hide_the_rows_behind_them(
    lines: list[bytes], piece: int
) -> None:
    good = as_csv([row(1)])
    # Enough lines without a quote: a quote that is open before them is given up at the limit.
    padding = [as_csv([row(number)]).split(b"\n")[1] for number in range(100, 160)]
    rows = read(b"\n".join([good, *lines, b"", *padding, b""]), piece, row_bytes_max=2_000)
    assert "lamp-159" in endpoints(rows)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(COLUMNS),
        st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.none(), st.booleans()),
    )
)
def test_arbitrary_fields_are_a_row_or_one_named_field(changes: dict[str, object]) -> None:
    fields: dict[str, object] = {**row(1), **changes}
    try:
        wrong_field = "" if -90 <= read_row(fields).latitude <= 90 else "latitude"
    except InvalidField as error:
        wrong_field = error.field
    assert wrong_field in ("", *COLUMNS)


def test_a_quote_that_is_never_closed_is_given_up_however_empty_its_lines_are() -> None:
    data = as_csv([row(1)]) + b'"' + b"\n" * 5_000 + as_csv([row(2)]).partition(b"\n")[2]
    rows = read(data, piece=64)
    assert endpoints(rows) == ["lamp-1", None, "lamp-2"]
    assert rows[1].error is not None
    assert rows[1].error.reason == "a quote is opened and never closed"
