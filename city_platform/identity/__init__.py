"""Identity: who is who, what each role may do, and the gate before every HTTP interface."""

from city_platform.identity.component import run
from city_platform.identity.config import AccessConfig, IdentityConfig

__all__ = ["AccessConfig", "IdentityConfig", "run"]
