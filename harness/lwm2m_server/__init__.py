"""The LwM2M server emulator: standing in for the vendor's, with its WebSocket data interface."""

from harness.lwm2m_server.config import (
    Defect,
    Listen,
    SecureListen,
    ServerConfig,
    ServerLimits,
    TlsListen,
)
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.endpoints import DatagramEndpoint, Endpoints
from harness.lwm2m_server.shell import run

__all__ = [
    "DatagramEndpoint",
    "Defect",
    "Endpoints",
    "Listen",
    "SecureListen",
    "ServerConfig",
    "ServerCore",
    "ServerLimits",
    "TlsListen",
    "run",
]
