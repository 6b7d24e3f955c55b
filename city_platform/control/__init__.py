"""Control: operators' commands, kept, published, driven until their outcome or expiry."""

from city_platform.control.component import run
from city_platform.control.config import ControlConfig, SearchAccess
from city_platform.control.desk import CommandDesk, Times
from city_platform.control.group_service import GroupLimits
from city_platform.control.names import ResourceNames, UnknownName
from city_platform.control.requests import InvalidRequest, builtin_names, read_request
from city_platform.control.rows import CommandRow, HolderRow

__all__ = [
    "CommandDesk",
    "CommandRow",
    "ControlConfig",
    "GroupLimits",
    "HolderRow",
    "InvalidRequest",
    "ResourceNames",
    "SearchAccess",
    "Times",
    "UnknownName",
    "builtin_names",
    "read_request",
    "run",
]
