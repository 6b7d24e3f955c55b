"""Provisioning: a manifest goes in, every device gets its certificate, thing, policy, groups,
credentials file, pre-shared key and place in the directory."""

from city_platform.provisioning.component import run
from city_platform.provisioning.config import ProvisioningConfig

__all__ = ["ProvisioningConfig", "run"]
