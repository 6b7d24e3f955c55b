"""The features by interface; see `harness.features`."""

from typing import Final

from harness.feature_lists.interfaces import BOOTSTRAP, MANAGEMENT, REGISTRATION, REPORTING
from harness.feature_lists.lower import COAP, TRANSPORT
from harness.feature_lists.model import FORMATS, OBJECTS, SECURITY
from harness.features import Group

GROUPS: Final[tuple[Group, ...]] = (
    BOOTSTRAP,
    REGISTRATION,
    MANAGEMENT,
    REPORTING,
    FORMATS,
    OBJECTS,
    SECURITY,
    TRANSPORT,
    COAP,
)

__all__ = ["GROUPS"]
