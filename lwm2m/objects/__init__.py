"""Object paths, value types and object definitions: what devices have and what it may hold."""

from lwm2m.objects.builtin import builtin_models, builtin_versions, newest_of, read_definition
from lwm2m.objects.model import (
    Models,
    ObjectModel,
    ResourceModel,
    ValueRange,
    check_operation,
    check_path,
    check_value,
    missing_mandatory,
    resource_model,
)
from lwm2m.objects.path import ID_MAX, NULL_ID, ObjectPath
from lwm2m.objects.values import NULL_LINK, ObjectLink, Value, ValueType, check_type

__all__ = [
    "ID_MAX",
    "NULL_ID",
    "NULL_LINK",
    "Models",
    "ObjectLink",
    "ObjectModel",
    "ObjectPath",
    "ResourceModel",
    "Value",
    "ValueRange",
    "ValueType",
    "builtin_models",
    "builtin_versions",
    "check_operation",
    "check_path",
    "check_type",
    "check_value",
    "missing_mandatory",
    "newest_of",
    "read_definition",
    "resource_model",
]
