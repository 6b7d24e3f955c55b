"""The OSCORE contexts of a server's devices, in use: by endpoint name, and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import TYPE_CHECKING

from harness.lwm2m_server.oscore_store import OscoreRow, OscoreStore

if TYPE_CHECKING:
    from lwm2m.transport.oscore import OscoreContexts, OscorePeer


class OscoreDevices:
    """Rows of the store as contexts. `on_changed(endpoint)` is called after one came or went.

    The protocol is not imported before there is a row: most servers never have one.
    """

    def __init__(self, store: OscoreStore, draw: Callable[[int], bytes]) -> None:
        self.on_changed: Callable[[str], None] = lambda endpoint: None
        self._store = store
        self._draw = draw
        self._contexts: OscoreContexts | None = None
        for row in store.rows.values():
            self._use(row)

    @property
    def contexts(self) -> OscoreContexts:
        """The contexts of all rows."""
        if self._contexts is None:
            from lwm2m.transport.oscore import OscoreContexts

            self._contexts = OscoreContexts(self._draw, reserve=self._store.reserve)
        return self._contexts

    @property
    def endpoints(self) -> Collection[str]:
        """The endpoints that have a context; always the present ones."""
        return self._store.rows

    def put(self, row: OscoreRow) -> bool:
        """Add or replace one; False when it was there as it is. Raises as `OscoreStore.put`.

        It is on disk after `flush`.
        """
        before = self._store.rows.get(row.endpoint)
        if not self._store.put(row):
            return False
        if before is not None:
            self.contexts.remove(*before.key)
        self._use(row)
        self.on_changed(row.endpoint)
        return True

    def remove(self, endpoint: str) -> bool:
        """Forget a device's context; False when there was none."""
        row = self._store.rows.get(endpoint)
        if row is None:
            return False
        self._store.remove(endpoint)
        self.contexts.remove(*row.key)
        self.on_changed(endpoint)
        return True

    def flush(self) -> None:
        """Have all rows, and the sequence numbers in use, on disk. Raises `OSError`."""
        self._store.flush()

    def peer_of(self, endpoint: str, address: Hashable) -> OscorePeer | None:
        """A device at an address; None when it has no context."""
        row = self._store.rows.get(endpoint)
        return None if row is None else self.contexts.peer(address, *row.key)

    def _use(self, row: OscoreRow) -> None:
        # Not even for new material is the window known: LwM2M has the device show on the first
        # contact that its request is fresh (RFC 8613 Appendix B.1.2).
        self.contexts.add(
            row.material(), next_sequence=self._store.next_sequence(row), window_known=False
        )
