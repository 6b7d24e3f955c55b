"""The security contexts of one endpoint, found by what a message says of itself.

A context is known by its recipient id, which the other end sends as kid, and its id context.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.transport.oscore.faults import UnknownContext
from lwm2m.transport.oscore.material import OscoreMaterial
from lwm2m.transport.peers import PeerSecurity, SecurePeer, address_of

if TYPE_CHECKING:
    from lwm2m.transport.oscore.engine import Engine

OSCORE: Final = 9
"""The option's number (RFC 8613 §2)."""

ContextKey: TypeAlias = tuple[bytes, bytes | None]
"""Recipient id and id context."""

ReserveSequence: TypeAlias = Callable[[ContextKey, int], None]
"""Stores the `next_sequence` to start from after a restart; it is stored when this returns."""


class OscoreContext:
    """One security context in use."""

    __slots__ = ("engine", "key", "material")

    def __init__(self, material: OscoreMaterial, engine: Engine) -> None:
        self.material = material
        self.engine = engine
        self.key: ContextKey = (material.recipient_id, material.id_context)

    def __repr__(self) -> str:
        return f"OscoreContext({_identity(self.key)!r}, {self.material.endpoint_name!r})"


class OscorePeer(SecurePeer):
    """Who is at the other end of a context, at one address of the link below.

    Equal to another of the same context and address: OSCORE binds each response to its request, so
    there is no session to tell apart. When new material replaces a context, its peers are others.
    """

    __slots__ = ("address", "context")

    def __init__(self, address: Hashable, context: OscoreContext) -> None:
        host, port = address_of(address)
        local = address[0] if isinstance(address, tuple) and len(address) == 3 else None
        super().__init__(
            host,
            port,
            PeerSecurity("oscore", _identity(context.key)),
            local=local,
            endpoint_name=context.material.endpoint_name,
        )
        self.address = address
        self.context = context

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OscorePeer):
            return NotImplemented
        return self.context is other.context and self.address == other.address

    def __hash__(self) -> int:
        return hash((self.context.key, self.address))

    def __repr__(self) -> str:
        return f"OscorePeer({self.address!r}, {self.context!r})"


def _identity(key: ContextKey) -> str:
    kid, id_context = key
    return kid.hex() if id_context is None else f"{kid.hex()}@{id_context.hex()}"


def _is_same_secret(one: OscoreMaterial, other: OscoreMaterial) -> bool:
    return msgspec.structs.replace(one, endpoint_name=other.endpoint_name) == other


def oscore_parameters(parameters: TransmissionParameters) -> TransmissionParameters:
    """The parameters of a `CoapEndpoint` below an `OscoreEndpoint`: it lets the option pass."""
    critical = tuple({*parameters.critical_options, OSCORE})
    return msgspec.structs.replace(parameters, critical_options=critical)


class OscoreContexts:
    """All contexts; aiocoap is imported when the first is added."""

    __slots__ = ("_by_key", "_by_kid", "_draw", "_reserve")

    def __init__(
        self, draw: Callable[[int], bytes], reserve: ReserveSequence | None = None
    ) -> None:
        """`draw(n)` gives n random bytes, for Echo values. Without `reserve`, a restart must bring
        new material: sequence numbers would be used twice."""
        self._draw = draw
        self._reserve = reserve
        self._by_key: dict[ContextKey, OscoreContext] = {}
        self._by_kid: dict[bytes, list[OscoreContext]] = {}

    def add(
        self, material: OscoreMaterial, *, next_sequence: int = 0, window_known: bool | None = None
    ) -> OscoreContext:
        """Take material into use, in place of a context of the same key.

        Material that was in use before starts at the `next_sequence` that was reserved last, and
        its replay window is not known: the first request is then answered 4.01 with Echo (RFC 8613
        Appendix B.1.2). LwM2M asks for that on every first contact: `window_known=False`.
        """
        # Here and not above: aiocoap takes a fifth of a second, and most runs have no OSCORE.
        from lwm2m.transport.oscore.engine import Engine

        key = (material.recipient_id, material.id_context)
        old = self._by_key.get(key)
        if old is not None and _is_same_secret(old.material, material):
            # Another engine of the same keys would use the same nonces again.
            engine = old.engine
        else:
            engine = self._new_engine(Engine, material, next_sequence, window_known)
        self.remove(*key)
        context = self._by_key[key] = OscoreContext(material, engine)
        self._by_kid.setdefault(material.recipient_id, []).append(context)
        return context

    def remove(self, recipient_id: bytes, id_context: bytes | None = None) -> None:
        """Take a context out of use; nothing happens when there is none."""
        found = self._by_key.pop((recipient_id, id_context), None)
        if found is None:
            return
        others = [context for context in self._by_kid[recipient_id] if context is not found]
        if others:
            self._by_kid[recipient_id] = others
        else:
            del self._by_kid[recipient_id]

    def find(self, kid: bytes, kid_context: bytes | None) -> OscoreContext | None:
        """The context of a request. One that names no context may mean any, if there is but one."""
        if kid_context is not None:
            return self._by_key.get((kid, kid_context))
        found = self._by_kid.get(kid, ())
        return found[0] if len(found) == 1 else self._by_key.get((kid, None))

    def peer(
        self, address: Hashable, recipient_id: bytes, id_context: bytes | None = None
    ) -> OscorePeer:
        """The peer to send protected requests to. Raises `UnknownContext`."""
        context = self._by_key.get((recipient_id, id_context))
        if context is None:
            raise UnknownContext(f"no security context {_identity((recipient_id, id_context))}")
        return OscorePeer(address, context)

    def __iter__(self) -> Iterator[OscoreContext]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def _new_engine(
        self,
        make: type[Engine],
        material: OscoreMaterial,
        next_sequence: int,
        window_known: bool | None,
    ) -> Engine:
        key = (material.recipient_id, material.id_context)
        return make(
            material,
            self._draw,
            next_sequence=next_sequence,
            window_known=next_sequence == 0 if window_known is None else window_known,
            reserve=None if self._reserve is None else self._reserve_of(key),
        )

    def _reserve_of(self, key: ContextKey) -> Callable[[int], None]:
        reserve = self._reserve
        assert reserve is not None
        return lambda next_sequence: reserve(key, next_sequence)
