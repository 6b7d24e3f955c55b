"""Notification attributes: what Write-Attributes attaches and what an Observe request may carry.

LwM2M Core §5.1.2 says where each may be attached and to which types of resource. Texts are read and
written here; which values hold for a path is `attribute_table`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Final, NamedTuple

import msgspec

from lwm2m.errors import MalformedAttribute
from lwm2m.objects import ObjectPath, ResourceModel, ValueType

AttributeValue = int | float | bool


class NotificationAttributes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What makes a client notify; None where nothing is said. Periods are seconds.

    `edge` True is the rising one. `confirmable` says whether notifications go as CON,
    `historical_values_max` how many values are kept while nothing may be sent.
    """

    minimum_period_s: int | None = None
    maximum_period_s: int | None = None
    greater_than: float | None = None
    less_than: float | None = None
    step: float | None = None
    minimum_evaluation_period_s: int | None = None
    maximum_evaluation_period_s: int | None = None
    edge: bool | None = None
    confirmable: bool | None = None
    historical_values_max: int | None = None


NO_ATTRIBUTES: Final = NotificationAttributes()

AttributeChanges = dict[str, AttributeValue | None]
"""Fields of `NotificationAttributes` and their new values; None removes."""


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
# The grammar has no sign; real clients and servers write negative thresholds all the same.
_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def _whole_number(text: str) -> int:
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return int(text)


def _decimal(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None or not isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _step(text: str) -> float:
    if (number := _decimal(text)) < 0.0:
        raise ValueError(text)
    return number


class AttributeForm(NamedTuple):
    """One attribute: its field, the LwM2M version that brought it, the types of resource it is for
    (None: any path), whether a composite observation may carry it, and how its text is read."""

    field: str
    since: str
    types: frozenset[ValueType] | None
    is_for_composite: bool
    read: Callable[[str], AttributeValue]


_NUMERIC: Final = frozenset(
    {ValueType.INTEGER, ValueType.UNSIGNED, ValueType.FLOAT, ValueType.TIME}
)
_BOOLEAN: Final = frozenset({ValueType.BOOLEAN})

# By the names that they have in queries and links.
ATTRIBUTE_FORMS: Final[dict[str, AttributeForm]] = {
    "pmin": AttributeForm("minimum_period_s", "1.0", None, True, _whole_number),
    "pmax": AttributeForm("maximum_period_s", "1.0", None, True, _whole_number),
    "gt": AttributeForm("greater_than", "1.0", _NUMERIC, False, _decimal),
    "lt": AttributeForm("less_than", "1.0", _NUMERIC, False, _decimal),
    "st": AttributeForm("step", "1.0", _NUMERIC, False, _step),
    "epmin": AttributeForm("minimum_evaluation_period_s", "1.1", None, True, _whole_number),
    "epmax": AttributeForm("maximum_evaluation_period_s", "1.1", None, True, _whole_number),
    "edge": AttributeForm("edge", "1.2", _BOOLEAN, False, _flag),
    "con": AttributeForm("confirmable", "1.2", None, True, _flag),
    "hqmax": AttributeForm("historical_values_max", "1.2", None, False, _whole_number),
}
_NAME_OF_FIELD: Final = {form.field: name for name, form in ATTRIBUTE_FORMS.items()}


def parse_attributes(query: Iterable[str], lwm2m_version: str) -> AttributeChanges:
    """The changes that the parameters of a Write-Attributes ask for; one without value removes.

    Raises `MalformedAttribute` (4.00): unknown in that LwM2M version, given twice, or no value of
    its form.
    """
    changes: AttributeChanges = {}
    for parameter in query:
        name, _, text = parameter.partition("=")
        form = ATTRIBUTE_FORMS.get(name)
        if form is None or form.since > lwm2m_version:
            raise MalformedAttribute(name, f"is no attribute of LwM2M {lwm2m_version}")
        if form.field in changes:
            raise MalformedAttribute(name, "is given twice")
        changes[form.field] = _read(name, form, text) if text else None
    return changes


def parse_observe_parameters(
    query: Iterable[str], lwm2m_version: str, *, is_composite: bool = False
) -> NotificationAttributes:
    """The attributes that an Observe request brings along (LwM2M 1.2), which then win over those
    attached.

    Raises `MalformedAttribute`, also before 1.2, for a parameter without value and for what a
    composite observation cannot have.
    """
    parameters = tuple(query)
    if not parameters:
        return NO_ATTRIBUTES
    if lwm2m_version < "1.2":
        raise MalformedAttribute(parameters[0], f"cannot go with Observe in {lwm2m_version}")
    changes = parse_attributes(parameters, lwm2m_version)
    for field, value in changes.items():
        name = _NAME_OF_FIELD[field]
        if value is None:
            raise MalformedAttribute(name, "has no value")
        if is_composite and not ATTRIBUTE_FORMS[name].is_for_composite:
            raise MalformedAttribute(name, "cannot go with a composite observation")
    return with_changes(NO_ATTRIBUTES, changes)


def given_fields(attributes: NotificationAttributes) -> list[str]:
    """The fields that say something."""
    return [field for field, value in _given(attributes).items() if value is not None]


def with_changes(
    attributes: NotificationAttributes, changes: AttributeChanges
) -> NotificationAttributes:
    """`attributes` after the changes."""
    return msgspec.structs.replace(attributes, **changes)


def override(
    attributes: NotificationAttributes, stronger: NotificationAttributes
) -> NotificationAttributes:
    """Both together: what `stronger` says, and `attributes` where it says nothing."""
    if stronger == NO_ATTRIBUTES:
        return attributes
    if attributes == NO_ATTRIBUTES:
        return stronger
    given = {field: value for field, value in _given(stronger).items() if value is not None}
    return msgspec.structs.replace(attributes, **given)


def check_placement(
    fields: Iterable[str], path: ObjectPath, resource: ResourceModel | None, lwm2m_version: str
) -> None:
    """Return when attributes of these fields can be attached at `path`, whose definition is
    `resource`. Raises `MalformedAttribute` (4.00).
    """
    if path.depth == 4 and lwm2m_version < "1.1":
        raise MalformedAttribute("attributes", "cannot be attached to a resource instance in 1.0")
    for field in fields:
        name = _NAME_OF_FIELD[field]
        types = ATTRIBUTE_FORMS[name].types
        if types is not None and (resource is None or resource.type not in types):
            raise MalformedAttribute(name, f"is for resources of type {', '.join(sorted(types))}")


def check_consistency(attributes: NotificationAttributes) -> None:
    """Return when the attributes that hold together agree. Raises `MalformedAttribute` (4.00).

    LwM2M Core §5.1.2: lt < gt, lt + 2·st < gt, epmin < epmax. A pmax below pmin is no fault: it is
    ignored (`effective_maximum_period_s`).
    """
    low, high = attributes.less_than, attributes.greater_than
    if low is not None and high is not None and not low + 2 * (attributes.step or 0.0) < high:
        raise MalformedAttribute("gt", "must be above lt, and above lt + 2·st")
    shortest = attributes.minimum_evaluation_period_s
    longest = attributes.maximum_evaluation_period_s
    if shortest is not None and longest is not None and not shortest < longest:
        raise MalformedAttribute("epmin", "must be below epmax")


def effective_maximum_period_s(
    attributes: NotificationAttributes, lwm2m_version: str
) -> int | None:
    """The pmax that counts: none when it is 0, or below pmin (before 1.2: or equal to it)."""
    longest = attributes.maximum_period_s
    shortest = attributes.minimum_period_s or 0
    if not longest or longest < shortest or (longest == shortest and lwm2m_version < "1.2"):
        return None
    return longest


def attribute_texts(attributes: NotificationAttributes) -> dict[str, str]:
    """The attributes as they are written in links, in the order of the standard's table."""
    given = _given(attributes)
    return {
        name: _text(value)
        for name, form in ATTRIBUTE_FORMS.items()
        if (value := given[form.field]) is not None
    }


def attribute_query(changes: AttributeChanges) -> tuple[str, ...]:
    """The query parameters that `parse_attributes` reads back."""
    return tuple(
        _NAME_OF_FIELD[field] if value is None else f"{_NAME_OF_FIELD[field]}={_text(value)}"
        for field, value in changes.items()
    )


def _read(name: str, form: AttributeForm, text: str) -> AttributeValue:
    try:
        return form.read(text)
    except ValueError:
        raise MalformedAttribute(name, f"cannot be {text[:40]!r}") from None


def _given(attributes: NotificationAttributes) -> dict[str, AttributeValue | None]:
    return msgspec.structs.asdict(attributes)


def _text(value: AttributeValue) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
