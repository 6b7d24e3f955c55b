"""Which manifest rows are taken, and which field is named when one is not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.manifest import (
    ATTRIBUTES_MAX,
    COLUMNS,
    InvalidField,
    ManifestRow,
    read_row,
)
from tests.contracts.golden import golden

GOLDEN = golden("manifest")
FIELDS = GOLDEN["rows"][0]["fields"]


@pytest.mark.parametrize("example", GOLDEN["rows"])
def test_a_row_is_read_as_the_example_says(example: dict[str, Any]) -> None:
    assert json.loads(msgspec.json.encode(read_row(example["fields"]))) == example["row"]
    assert msgspec.convert(example["row"], ManifestRow) == read_row(example["fields"])


@pytest.mark.parametrize("example", GOLDEN["refused"])
def test_a_wrong_field_is_named(example: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        read_row({**FIELDS, **example["changes"]})
    assert caught.value.field == example["field"]


@pytest.mark.parametrize("field", [name for name in COLUMNS if name in FIELDS])
def test_a_missing_field_is_named_unless_it_is_optional(field: str) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != field}
    if field in ("psk", "attributes", "group"):
        assert read_row(fields).endpoint == "lamp-1"
        return
    with pytest.raises(InvalidField) as caught:
        read_row(fields)
    assert (caught.value.field, caught.value.reason) == (field, "is missing")


def test_attributes_may_be_an_object_in_a_cell() -> None:
    assert read_row({**FIELDS, "attributes": '{"a": "b;c=d"}'}).attributes == {"a": "b;c=d"}


def test_too_many_attributes_are_refused() -> None:
    attributes = {str(number): "x" for number in range(ATTRIBUTES_MAX + 1)}
    with pytest.raises(InvalidField, match="at most 50"):
        read_row({**FIELDS, "attributes": attributes})


def test_neither_row_nor_error_shows_the_key() -> None:
    assert FIELDS["psk"] not in repr(read_row(FIELDS))
    assert repr(read_row(FIELDS).psk) not in repr(read_row(FIELDS))
    with pytest.raises(InvalidField) as caught:
        read_row({**FIELDS, "psk": FIELDS["psk"] + "zz"})
    assert FIELDS["psk"][:6] not in str(caught.value)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(COLUMNS), st.text(max_size=5)),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_arbitrary_fields_are_a_row_or_one_named_field(changes: dict[str, Any]) -> None:
    try:
        found = read_row({**FIELDS, **changes})
    except InvalidField as error:
        assert error.reason  # noqa: PT017 - both ends are right
    else:
        assert abs(found.latitude) <= 90
