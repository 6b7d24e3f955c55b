"""Paths by name and unit: what the object definitions say of what devices report and take. Pure.

Readings are in SenML's units, commands in those of the definitions: both are told, and how one
becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from city_platform.dashboard.live_state import Scalar
from contracts.telemetry import SENML_UNIT_OFFSETS, SENML_UNITS
from lwm2m.objects import ObjectModel, ResourceModel

# Security, server, access control: the platform's own business, never an operator's.
_NOT_FOR_OPERATORS: Final = frozenset({0, 1, 2, 21})
_SIGNIFICANT: Final = 12

Models = Mapping[int, ObjectModel]


class Latest(NamedTuple):
    """The latest reading of a path. `at_us` is device time, None when nobody said."""

    value: Scalar
    at_us: int | None


def models_document(models: Models) -> dict[str, Any]:
    """All definitions, by the numbers that paths have."""
    return {
        "objects": {
            str(one.id): {
                "name": one.name,
                "multiple": one.multiple,
                "resources": {str(each.id): _model(each) for each in one.resources.values()},
            }
            for one in (models[number] for number in sorted(models))
        }
    }


def resource_rows(latest: Mapping[str, Latest], models: Models) -> list[dict[str, Any]]:
    """What a device reported, by name and unit, in the order of paths."""
    return [_row(path, latest[path], models) for path in sorted(latest, key=_order)]


def writable_rows(paths: Iterable[str], models: Models) -> list[dict[str, Any]]:
    """What may be written or executed of the object instances that these paths are in."""
    rows: list[dict[str, Any]] = []
    for object_id, instance in sorted({found for path in paths if (found := _instance(path))}):
        model = models.get(object_id)
        if model is None or object_id in _NOT_FOR_OPERATORS:
            continue
        rows += [
            {
                "path": f"{object_id}/{instance}/{one.id}",
                "object": model.name,
                "instance": instance,
                "resource": one.name,
                **_facts(one),
            }
            for one in model.resources.values()
            if one.is_writable or one.is_executable
        ]
    return rows


def _row(path: str, latest: Latest, models: Models) -> dict[str, Any]:
    numbers = _numbers(path)
    model = models.get(numbers[0]) if numbers else None
    resource = model.resources.get(numbers[2]) if model and len(numbers) > 2 else None
    row: dict[str, Any] = {
        "path": path,
        "object": model.name if model else None,
        "instance": numbers[1] if len(numbers) > 1 else None,
        "resource": resource.name if resource else None,
        "value": latest.value,
        "at_us": latest.at_us,
    }
    if resource is None:
        return row | {
            "type": None, "operations": "", "unit": "", "reading_unit": None, "shown": None
        }  # fmt: skip
    facts = _facts(resource)
    return row | {
        "type": facts["type"],
        "operations": facts["operations"],
        "unit": facts["unit"],
        "reading_unit": facts["reading"]["unit"],
        "shown": _shown(latest.value, resource.unit),
    }


def _model(resource: ResourceModel) -> dict[str, Any]:
    return {"name": resource.name, "multiple": resource.multiple, **_facts(resource)}


def _facts(resource: ResourceModel) -> dict[str, Any]:
    unit, factor = SENML_UNITS.get(resource.unit, (resource.unit, 1.0))
    offset = SENML_UNIT_OFFSETS.get(resource.unit, 0.0)
    allowed = str(resource.range) if resource.range is not None else resource.range_note
    return {
        "type": resource.type.value,
        "operations": resource.operations,
        "unit": resource.unit,
        "range": allowed or None,
        "reading": {"unit": unit, "factor": factor, "offset": offset},
    }


def _shown(value: Scalar, unit: str) -> float | None:
    """A reading in the definition's unit; None when it is no number."""
    if isinstance(value, bool | str):
        return None
    factor = SENML_UNITS.get(unit, (None, 1.0))[1]
    found = (value - SENML_UNIT_OFFSETS.get(unit, 0.0)) / factor
    # 0.07 / 0.01 is 7.000000000000001 in binary.
    return float(f"{found:.{_SIGNIFICANT}g}")


def _numbers(path: str) -> list[int]:
    levels = path.split("/")
    if not all(level.isascii() and level.isdecimal() and len(level) < 6 for level in levels):
        return []
    return [int(level) for level in levels]


def _instance(path: str) -> tuple[int, int] | None:
    numbers = _numbers(path)
    return (numbers[0], numbers[1]) if len(numbers) > 1 else None


def _order(path: str) -> tuple[list[int], str]:
    return _numbers(path), path
