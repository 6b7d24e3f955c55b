"""All bridges of an installation, as their statuses tell, and the page that shows them."""

from city_platform.bridge_status.roster import BridgeRoster
from city_platform.bridge_status.routes import BridgeRoutes

__all__ = ["BridgeRoster", "BridgeRoutes"]
