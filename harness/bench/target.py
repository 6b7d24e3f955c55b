"""What a run's platform keeps its data in, from a user's file: `lamplighter run … --target FILE`.

The platform reads `[stores]` itself; here it is only checked for what would make a run wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import ScenarioError

_SECRET: Final = re.compile(r"secret|password|access_key|session_token", re.IGNORECASE)
_NAME_LENGTH_MAX: Final = 80


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stores` is given to every component that has some."""

    stores: dict[str, Any]


def load_target(file: Path) -> Target:
    """Read a target file (TOML). Raises `ScenarioError`."""
    try:
        found = msgspec.toml.decode(file.read_bytes(), type=Target)
    except OSError as error:
        raise ScenarioError(f"--target {file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"--target {file}: {error}; it needs [stores]") from None
    stores = found.stores
    if stores.get("kind") not in ("embedded", "aws"):
        raise ScenarioError(f'--target {file}: stores.kind is "embedded" or "aws"')
    wrong = next((name for name in _names(stores) if _SECRET.search(name)), None)
    if wrong is not None:
        raise ScenarioError(
            f"--target {file}: {wrong}: credentials come from the environment or a profile"
        )
    return found


def stores_of_run(target: Target | None, run_id: str) -> dict[str, Any]:
    """The stores of one run. On AWS it has tables and a prefix of its own: what an earlier run left
    there is another installation's."""
    if target is None:
        return {}
    stores = dict(target.stores)
    if stores["kind"] == "aws":
        name = f"{stores.get('name', 'lamplighter')}-{run_id}"
        stores["name"] = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[-_NAME_LENGTH_MAX:]
        stores["prefix"] = f"{stores.get('prefix', '')}{stores['name']}/"
    return stores


def _names(stores: Mapping[str, Any]) -> list[str]:
    inner = [name for one in stores.values() if isinstance(one, dict) for name in one]
    return [*stores, *inner]
