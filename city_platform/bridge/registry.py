"""The devices that this bridge's server holds, as its snapshot and events tell."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final, NamedTuple

import msgspec

from contracts.data_interface import ObjectLink

KNOWN_LINK_LISTS_MAX = 4096

_INSTANCE = re.compile(r"/(\d{1,5})/(\d{1,5})", re.ASCII)
_NONE: Final[Set[int]] = frozenset()
_links = msgspec.json.Decoder(list[ObjectLink])


class RegistrationHead(msgspec.Struct, frozen=True):
    """What a bridge must know of a registration; the rest passes through unread."""

    registration_id: str
    endpoint: str
    object_links: msgspec.Raw
    lwm2m_version: str = "1.0"


class Links:
    """The object links of a model's devices, read once. `instances` are by object.

    Links that cannot be read count as none: who creates what exists is refused and replaces.
    """

    __slots__ = ("instances",)

    def __init__(self, object_links: bytes) -> None:
        self.instances: dict[int, set[int]] = {}
        try:
            links = _links.decode(object_links)
        except (msgspec.DecodeError, RecursionError):
            return
        for found in (_INSTANCE.fullmatch(link.path) for link in links):
            if found:
                self.instances.setdefault(int(found[1]), set()).add(int(found[2]))


class Held(NamedTuple):
    """One device: its registration, and what it said that it has."""

    registration_id: str
    links: Links
    # Whether its version of LwM2M has Write-Composite and Create of several instances, from 1.1 on;
    # not all that have it take it.
    may_take_composites: bool = False

    def instances_of(self, object_id: int) -> Set[int]:
        """The instances of an object that the device had when it registered or updated."""
        return self.links.instances.get(object_id, _NONE)


class Registry:
    """Endpoint name to registration. Equal link lists, one per model, are kept once.

    A device whose registration was overtaken elsewhere is not held until it speaks here again: who
    keeps the holders hears of that too, and says whether the other registration still counts.
    """

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        # Registrations that a later one at another server has overtaken: nothing is sent to them.
        self._superseded: dict[str, str] = {}
        self._known_links: dict[bytes, Links] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, endpoint: str) -> bool:
        return endpoint in self._held

    @property
    def superseded(self) -> int:
        """How many registrations of this server were overtaken by a later one elsewhere."""
        return len(self._superseded)

    def get(self, endpoint: str) -> Held | None:
        """The device's registration, None when this server does not hold it."""
        return self._held.get(endpoint)

    def holds(self, endpoint: str, registration_id: str) -> bool:
        """Whether the device is held under exactly this registration."""
        held = self._held.get(endpoint)
        return held is not None and held.registration_id == registration_id

    def put(self, registration: RegistrationHead) -> None:
        """A device registered, or its registration changed."""
        self._superseded.pop(registration.endpoint, None)
        # A Raw is a view: kept as it is, it would keep its whole frame in memory.
        object_links = bytes(registration.object_links)
        links = self._known_links.get(object_links)
        if links is None:
            if len(self._known_links) >= KNOWN_LINK_LISTS_MAX:
                self._known_links.clear()
            links = self._known_links[object_links] = Links(object_links)
        may_take_composites = registration.lwm2m_version != "1.0"
        self._held[registration.endpoint] = Held(
            registration.registration_id, links, may_take_composites
        )

    def clear(self) -> None:
        """Hold nothing: a snapshot follows."""
        self._held.clear()
        self._superseded.clear()

    def supersede(self, endpoint: str, registration_id: str) -> bool:
        """This registration was overtaken elsewhere; whether it was held."""
        if not self.holds(endpoint, registration_id):
            return False
        del self._held[endpoint]
        self._superseded[endpoint] = registration_id
        return True

    def is_superseded(self, endpoint: str, registration_id: str) -> bool:
        """Whether the device's registration here was overtaken elsewhere."""
        return self._superseded.get(endpoint) == registration_id

    def remove(self, endpoint: str, registration_id: str | None) -> bool:
        """A registration ended. A newer one of the same device stays."""
        if registration_id is not None and self.is_superseded(endpoint, registration_id):
            del self._superseded[endpoint]
        if registration_id is None or not self.holds(endpoint, registration_id):
            return False
        del self._held[endpoint]
        return True
