"""Notification attributes: grammar, versions, levels, types and consistency (LwM2M Core §5.1.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.errors import MalformedAttribute
from lwm2m.objects import Models, ObjectModel, ObjectPath, ResourceModel, ValueType
from lwm2m.reporting import (
    ATTRIBUTE_FORMS,
    NO_ATTRIBUTES,
    AttributeTable,
    NotificationAttributes,
    attribute_query,
    attribute_texts,
    check_consistency,
    check_placement,
    given_fields,
    override,
    parse_attributes,
    parse_observe_parameters,
    with_changes,
)
from lwm2m.reporting.attributes import effective_maximum_period_s

A = NotificationAttributes
TEMPERATURE = ObjectPath(3303, 0, 5700)
MODELS: Models = {
    3303: ObjectModel(
        3303,
        "Temperature",
        "1.0",
        "1.0",
        True,
        False,
        {
            5700: ResourceModel(5700, "Sensor Value", ValueType.FLOAT, "R"),
            5701: ResourceModel(5701, "Sensor Units", ValueType.STRING, "R"),
            5850: ResourceModel(5850, "On/Off", ValueType.BOOLEAN, "RW"),
            5518: ResourceModel(5518, "Timestamps", ValueType.TIME, "R", multiple=True),
        },
    )
}


@pytest.mark.parametrize(
    ("parameter", "field", "value"),
    [
        ("pmin=0", "minimum_period_s", 0),
        ("pmax=3600", "maximum_period_s", 3600),
        ("gt=50", "greater_than", 50.0),
        ("lt=-42.2", "less_than", -42.2),
        ("gt=+1.5", "greater_than", 1.5),
        ("gt=1e3", "greater_than", 1000.0),
        ("st=0.5", "step", 0.5),
        ("epmin=5", "minimum_evaluation_period_s", 5),
        ("epmax=60", "maximum_evaluation_period_s", 60),
        ("edge=0", "edge", False),
        ("edge=1", "edge", True),
        ("con=1", "confirmable", True),
        ("hqmax=10", "historical_values_max", 10),
    ],
)
def test_a_parameter_becomes_a_value(parameter: str, field: str, value: object) -> None:
    assert parse_attributes([parameter], "1.2") == {field: value}


@pytest.mark.parametrize("name", list(ATTRIBUTE_FORMS))
def test_a_parameter_without_value_removes(name: str) -> None:
    field = ATTRIBUTE_FORMS[name].field
    assert parse_attributes([name], "1.2") == {field: None}
    assert parse_attributes([f"{name}="], "1.2") == {field: None}


@pytest.mark.parametrize(
    "parameter",
    [
        "pmin=-1",
        "pmin=1.5",
        "pmin=x",
        "pmin=12345678901",
        "pmin=٣",
        "gt=",
        "gt=nan",
        "gt=inf",
        "gt=1e999",
        "gt=.5",
        "gt=0x10",
        "st=-1",
        "edge=2",
        "con=true",
        "hqmax=-1",
        "dim=3",
        "ssid=1",
        "PMIN=1",
        "",
        "=5",
    ],
)
def test_what_has_not_the_form_of_an_attribute_is_refused(parameter: str) -> None:
    if parameter == "gt=":
        assert parse_attributes([parameter], "1.2") == {"greater_than": None}
        return
    with pytest.raises(MalformedAttribute):
        parse_attributes([parameter], "1.2")


def test_an_attribute_given_twice_is_refused() -> None:
    with pytest.raises(MalformedAttribute) as caught:
        parse_attributes(["pmin=1", "pmin=2"], "1.2")
    assert caught.value.attribute == "pmin"
    assert caught.value.reason == "is given twice"


@pytest.mark.parametrize("name", list(ATTRIBUTE_FORMS))
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_an_attribute_is_known_from_the_version_that_brought_it(name: str, version: str) -> None:
    is_known = ATTRIBUTE_FORMS[name].since <= version
    if is_known:
        assert parse_attributes([name], version)
    else:
        with pytest.raises(MalformedAttribute):
            parse_attributes([name], version)


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        (A(less_than=10.0, greater_than=20.0), True),
        (A(less_than=20.0, greater_than=20.0), False),
        (A(less_than=30.0, greater_than=20.0), False),
        (A(less_than=10.0, greater_than=20.0, step=4.9), True),
        (A(less_than=10.0, greater_than=20.0, step=5.0), False),
        (A(less_than=-20.0, greater_than=-10.0, step=4.0), True),
        (A(less_than=10.0, step=50.0), True),
        (A(minimum_evaluation_period_s=5, maximum_evaluation_period_s=6), True),
        (A(minimum_evaluation_period_s=6, maximum_evaluation_period_s=6), False),
        (A(minimum_evaluation_period_s=6), True),
        (A(minimum_period_s=60, maximum_period_s=5), True),
        (NO_ATTRIBUTES, True),
    ],
)
def test_attributes_must_agree_with_each_other(attributes: A, fits: bool) -> None:
    if fits:
        check_consistency(attributes)
    else:
        with pytest.raises(MalformedAttribute):
            check_consistency(attributes)


@pytest.mark.parametrize(
    ("shortest", "longest", "version", "expected"),
    [
        (None, None, "1.1", None),
        (None, 0, "1.1", None),
        (None, 10, "1.1", 10),
        (5, 10, "1.1", 10),
        (11, 10, "1.2", None),
        (10, 10, "1.1", None),
        (10, 10, "1.2", 10),
    ],
)
def test_a_maximum_period_below_the_minimum_is_ignored(
    shortest: int | None, longest: int | None, version: str, expected: int | None
) -> None:
    attributes = A(minimum_period_s=shortest, maximum_period_s=longest)
    assert effective_maximum_period_s(attributes, version) == expected


@pytest.mark.parametrize(
    ("field", "path", "version", "fits"),
    [
        ("minimum_period_s", "/3303", "1.0", True),
        ("minimum_period_s", "/3303/0", "1.0", True),
        ("minimum_period_s", "/3303/0/5701", "1.0", True),
        ("minimum_period_s", "/3303/0/5518/0", "1.0", False),
        ("minimum_period_s", "/3303/0/5518/0", "1.1", True),
        ("greater_than", "/3303", "1.2", False),
        ("greater_than", "/3303/0", "1.2", False),
        ("greater_than", "/3303/0/5700", "1.0", True),
        ("less_than", "/3303/0/5518/3", "1.1", True),
        ("step", "/3303/0/5701", "1.2", False),
        ("step", "/3303/0/5850", "1.2", False),
        ("edge", "/3303/0/5850", "1.2", True),
        ("edge", "/3303/0/5700", "1.2", False),
        ("edge", "/3303/0/9999", "1.2", False),
        ("confirmable", "/3303/0/5701", "1.2", True),
    ],
)
def test_an_attribute_is_attached_where_the_standard_allows(
    field: str, path: str, version: str, fits: bool
) -> None:
    target = ObjectPath.parse(path)
    resource = MODELS[3303].resources.get(target.resource_id or 0)
    if fits:
        check_placement([field], target, resource, version)
    else:
        with pytest.raises(MalformedAttribute):
            check_placement([field], target, resource, version)


def test_observe_parameters_come_with_lwm2m_1_2() -> None:
    assert parse_observe_parameters((), "1.0") is NO_ATTRIBUTES
    assert parse_observe_parameters(("pmin=5", "gt=3"), "1.2") == A(
        minimum_period_s=5, greater_than=3.0
    )
    with pytest.raises(MalformedAttribute):
        parse_observe_parameters(("pmin=5",), "1.1")
    with pytest.raises(MalformedAttribute):
        parse_observe_parameters(("pmin",), "1.2")


@pytest.mark.parametrize("name", list(ATTRIBUTE_FORMS))
def test_a_composite_observation_carries_periods_and_confirmability_alone(name: str) -> None:
    parameters = (f"{name}=1",)
    assert parse_observe_parameters(parameters, "1.2")
    if name in ("pmin", "pmax", "epmin", "epmax", "con"):
        assert parse_observe_parameters(parameters, "1.2", is_composite=True)
    else:
        with pytest.raises(MalformedAttribute):
            parse_observe_parameters(parameters, "1.2", is_composite=True)


def test_the_stronger_attributes_win_one_by_one() -> None:
    weak, strong = A(minimum_period_s=1, step=2.0), A(minimum_period_s=9, edge=False)
    assert override(weak, strong) == A(minimum_period_s=9, step=2.0, edge=False)
    assert override(weak, NO_ATTRIBUTES) is weak
    assert override(NO_ATTRIBUTES, strong) is strong


whole = st.integers(0, 10**10 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
attribute_sets = st.builds(
    A,
    minimum_period_s=st.none() | whole,
    maximum_period_s=st.none() | whole,
    greater_than=st.none() | numbers,
    less_than=st.none() | numbers,
    step=st.none() | numbers.map(abs),
    minimum_evaluation_period_s=st.none() | whole,
    maximum_evaluation_period_s=st.none() | whole,
    edge=st.none() | st.booleans(),
    confirmable=st.none() | st.booleans(),
    historical_values_max=st.none() | whole,
)


@given(attribute_sets)
def test_printed_attributes_are_read_back(attributes: A) -> None:
    texts = attribute_texts(attributes)
    assert list(texts) == [name for name in ATTRIBUTE_FORMS if name in texts]
    query = [f"{name}={text}" for name, text in texts.items()]
    changes = parse_attributes(query, "1.2")
    assert with_changes(NO_ATTRIBUTES, changes) == attributes
    assert sorted(changes) == sorted(given_fields(attributes))
    assert parse_attributes(attribute_query(changes), "1.2") == changes


def test_a_removal_is_printed_without_value() -> None:
    assert attribute_query({"step": None, "confirmable": False}) == ("st", "con=0")


@given(st.lists(st.text(max_size=12) | st.sampled_from(["pmin=5", "gt=1", "edge", "st=a"])))
def test_any_text_is_attributes_or_our_error(query: list[str]) -> None:
    for version in ("1.0", "1.1", "1.2"):
        try:
            parse_attributes(query, version)
        except MalformedAttribute:
            continue


# ---- the table ----


def table(*rows: tuple[int, str, str]) -> AttributeTable:
    found = AttributeTable()
    for server, path, query in rows:
        changes = parse_attributes(query.split("&"), "1.2")
        found.change(server, ObjectPath.parse(path), changes, MODELS, "1.2")
    return found


def test_lower_levels_inherit_and_win() -> None:
    found = table(
        (1, "/3303", "pmin=1&pmax=100"),
        (1, "/3303/0", "pmin=2"),
        (1, "/3303/0/5700", "gt=5"),
        (1, "/3303/0/5518", "pmax=50"),
    )
    assert found.effective(1, ObjectPath(3303)) == A(minimum_period_s=1, maximum_period_s=100)
    assert found.effective(1, TEMPERATURE) == A(
        minimum_period_s=2, maximum_period_s=100, greater_than=5.0
    )
    assert found.effective(1, ObjectPath(3303, 0, 5518, 7)) == A(
        minimum_period_s=2, maximum_period_s=50
    )
    assert found.effective(1, ObjectPath(3303, 1)) == A(minimum_period_s=1, maximum_period_s=100)
    assert found.attached(1, TEMPERATURE) == A(greater_than=5.0)
    assert found.attached(1, ObjectPath(3303, 1)) == NO_ATTRIBUTES
    assert len(found) == 4


def test_attributes_of_one_server_say_nothing_to_another() -> None:
    found = table((1, "/3303", "pmin=1"), (2, "/3303", "pmin=2"))
    assert found.effective(1, ObjectPath(3303)).minimum_period_s == 1
    assert found.effective(2, ObjectPath(3303)).minimum_period_s == 2
    assert found.effective(3, ObjectPath(3303)) == NO_ATTRIBUTES
    assert (found.has_any(2), found.has_any(3)) == (True, False)


def test_removed_attributes_leave_nothing_behind() -> None:
    found = table((1, "/3303", "pmin=1"), (1, "/3303/0", "pmin=1"))
    found.change(1, ObjectPath(3303), {"minimum_period_s": None}, MODELS, "1.2")
    assert len(found) == 1
    found.change(1, ObjectPath(3303), {"minimum_period_s": None}, MODELS, "1.2")
    found.change(1, ObjectPath(3303, 0), {"minimum_period_s": None}, MODELS, "1.2")
    assert not found.has_any(1)


def test_a_change_that_contradicts_what_is_inherited_changes_nothing() -> None:
    found = table((1, "/3303/0/5518", "gt=5"))
    with pytest.raises(MalformedAttribute):
        found.change(1, ObjectPath(3303, 0, 5518, 1), {"less_than": 9.0}, MODELS, "1.2")
    with pytest.raises(MalformedAttribute):
        found.change(
            1, ObjectPath(3303), {"minimum_period_s": 4, "greater_than": 1.0}, MODELS, "1.2"
        )
    assert len(found) == 1


def test_an_attribute_that_does_not_fit_may_still_be_removed() -> None:
    found = table((1, "/3303", "pmin=1"))
    found.change(1, ObjectPath(3303), {"greater_than": None}, MODELS, "1.2")
    assert found.attached(1, ObjectPath(3303)) == A(minimum_period_s=1)


def test_what_is_gone_is_forgotten_with_all_beneath_it() -> None:
    found = table(
        (1, "/3303/0", "pmin=1"),
        (1, "/3303/0/5700", "gt=1"),
        (2, "/3303/0/5700", "gt=2"),
        (1, "/3303/1", "pmin=1"),
    )
    assert len(found.paths()) == 3
    found.forget(ObjectPath(3303, 0))
    assert found.paths() == {ObjectPath(3303, 1)}
    found.forget_server(1)
    found.forget_server(7)
    assert len(found) == 0
