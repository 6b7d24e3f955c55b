"""Object paths, value types and object definitions: what devices have and what it may hold."""

from lwm2m.objects.builtin import builtin_models, builtin_versions
from lwm2m.objects.definition import read_definition, write_definition
from lwm2m.objects.model import (
    Models,
    ObjectModel,
    ResourceModel,
    ValueRange,
    check_create,
    check_operation,
    check_path,
    check_value,
    check_write,
    missing_mandatory,
    resource_model,
)
from lwm2m.objects.path import ID_MAX, NULL_ID, ObjectPath
from lwm2m.objects.problems import CheckedXml, Problem, check_xml, read_xml
from lwm2m.objects.registry import ModelRegistry
from lwm2m.objects.units import KNOWN_UNITS, is_known_unit
from lwm2m.objects.values import NULL_LINK, ObjectLink, Value, ValueType, check_type

__all__ = [
    "ID_MAX",
    "KNOWN_UNITS",
    "NULL_ID",
    "NULL_LINK",
    "CheckedXml",
    "ModelRegistry",
    "Models",
    "ObjectLink",
    "ObjectModel",
    "ObjectPath",
    "Problem",
    "ResourceModel",
    "Value",
    "ValueRange",
    "ValueType",
    "builtin_models",
    "builtin_versions",
    "check_create",
    "check_operation",
    "check_path",
    "check_type",
    "check_value",
    "check_write",
    "check_xml",
    "is_known_unit",
    "missing_mandatory",
    "read_definition",
    "read_xml",
    "resource_model",
    "write_definition",
]
