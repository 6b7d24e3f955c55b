"""The bootstrap handler: which registrations get credentials, and how they are driven."""

from city_platform.bootstrap.component import run
from city_platform.bootstrap.config import BootstrapConfig
from city_platform.bootstrap.decision import Facts, Ignore, SendCredentials, decide
from city_platform.bootstrap.drives import DriveTimes
from city_platform.bootstrap.handler import Message, handle

__all__ = [
    "BootstrapConfig",
    "DriveTimes",
    "Facts",
    "Ignore",
    "Message",
    "SendCredentials",
    "decide",
    "handle",
    "run",
]
