"""The dashboard: pages for operators, and the server between browsers and the components."""

from city_platform.dashboard.component import run
from city_platform.dashboard.config import DashboardConfig, DashboardLimits, OidcSignIn, Tls

__all__ = ["DashboardConfig", "DashboardLimits", "OidcSignIn", "Tls", "run"]
