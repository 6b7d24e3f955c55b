"""Control: operators' commands, kept, published, driven until their outcome or expiry."""

from city_platform.control.component import run
from city_platform.control.config import ControlConfig
from city_platform.control.desk import CommandDesk, CommandRow, HolderRow, Times
from city_platform.control.requests import InvalidRequest, read_request

__all__ = [
    "CommandDesk",
    "CommandRow",
    "ControlConfig",
    "HolderRow",
    "InvalidRequest",
    "Times",
    "read_request",
    "run",
]
