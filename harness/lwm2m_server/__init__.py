"""The LwM2M server emulator: standing in for the vendor's, with its WebSocket data interface."""

from harness.lwm2m_server.config import Defect, Listen, ServerConfig, ServerLimits
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.shell import run

__all__ = ["Defect", "Listen", "ServerConfig", "ServerCore", "ServerLimits", "run"]
