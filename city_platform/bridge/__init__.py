"""The bridge: between one LwM2M server's data interface and MQTT, both ways."""

from city_platform.bridge.config import BridgeConfig, Limits
from city_platform.bridge.core import BridgeCore
from city_platform.bridge.link import PeerError
from city_platform.bridge.shell import run

__all__ = ["BridgeConfig", "BridgeCore", "Limits", "PeerError", "run"]
