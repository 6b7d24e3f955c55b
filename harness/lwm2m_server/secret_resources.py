"""Which resources are secret: their values never reach the log, the journal or the log files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

# (object id, resource id). 18830: MQTT Broker's password and secret key. 0: the LwM2M Security
# object's Secret Key. 21: OSCORE's Master Secret.
SECRET_RESOURCES: Final = frozenset({(18830, 5), (18830, 9), (0, 5), (21, 0)})
_PREFIXES: Final = tuple(sorted({f"/{object_id}/" for object_id, _ in SECRET_RESOURCES}))

# Paths that are remembered: a fleet is written the same few, and each value of a command asks.
_PATHS_KEPT: Final = 4_096


@lru_cache(_PATHS_KEPT)
def is_secret(path: str) -> bool:
    """Whether `path` (a resource or resource instance) holds a secret; False for other texts."""
    if not path.startswith(_PREFIXES):
        return False
    parts = path.split("/", 4)
    if len(parts) < 4:
        return False
    try:
        return (int(parts[1]), int(parts[3])) in SECRET_RESOURCES
    except ValueError:
        return False


def touches_secret(paths: Iterable[str]) -> bool:
    """Whether any of the paths holds a secret."""
    return any(map(is_secret, paths))
