"""The bridges' certificates, as files in the PKI folder; read again when one was replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from city_platform.sealing import sealer
from contracts.names import is_endpoint_name, service_identity

Seal = Callable[[bytes], str]


# A replaced certificate is noticed after this time; until then nobody could open what is sealed,
# and it is driven again.
CHECKED_EVERY_NS = 1_000_000_000


class _Known(NamedTuple):
    checked_ns: int
    written_ns: int
    seal: Seal


class BridgeKeys:
    """Seals for a server's bridge."""

    def __init__(self, pki_dir: Path, now_ns: Callable[[], int]) -> None:
        self._pki_dir = pki_dir
        self._now_ns = now_ns
        self._known: dict[str, _Known] = {}

    def sealer_for(self, server: str) -> Seal | None:
        """A function that seals for the bridge of `server`; None when it has no certificate."""
        known = self._known.get(server)
        now_ns = self._now_ns()
        if known is not None and now_ns - known.checked_ns < CHECKED_EVERY_NS:
            return known.seal
        known = self._read(server, known, now_ns)
        if known is None:
            self._known.pop(server, None)
            return None
        self._known[server] = known
        return known.seal

    def _read(self, server: str, known: _Known | None, now_ns: int) -> _Known | None:
        if not is_endpoint_name(server):
            return None
        path = self._pki_dir / f"{service_identity('bridge', server).replace(':', '_')}.pem"
        try:
            written_ns = path.stat().st_mtime_ns
            if known is not None and known.written_ns == written_ns:
                return known._replace(checked_ns=now_ns)
            return _Known(now_ns, written_ns, sealer(path.read_bytes()))
        except (OSError, ValueError):
            return None
