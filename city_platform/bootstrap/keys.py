"""The bridges' certificates, as files in the PKI folder; read again when one was replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from city_platform.sealing import sealer
from contracts.names import is_endpoint_name, service_identity

Seal = Callable[[bytes], str]


class _Known(NamedTuple):
    written_ns: int
    seal: Seal


class BridgeKeys:
    """Seals for a server's bridge."""

    def __init__(self, pki_dir: Path) -> None:
        self._pki_dir = pki_dir
        self._known: dict[str, _Known] = {}

    def sealer_for(self, server: str) -> Seal | None:
        """A function that seals for the bridge of `server`; None when it has no certificate."""
        if not is_endpoint_name(server):
            return None
        path = self._pki_dir / f"{service_identity('bridge', server).replace(':', '_')}.pem"
        try:
            written_ns = path.stat().st_mtime_ns
            known = self._known.get(server)
            if known is None or known.written_ns != written_ns:
                known = self._known[server] = _Known(written_ns, sealer(path.read_bytes()))
        except (OSError, ValueError):
            return None
        return known.seal
