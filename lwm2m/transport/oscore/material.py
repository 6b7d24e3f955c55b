"""What two ends of OSCORE share, and the object (21) that a bootstrap server writes it to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from lwm2m.coap.redaction import show, shown_fields
from lwm2m.errors import LwM2mError
from lwm2m.objects.values import Value

AES_CCM_16_64_128: Final = 10
# COSE's direct+HKDF-SHA-256: RFC 8613 §3.2 and LwM2M take it when nothing is said.
HKDF_SHA_256: Final = -10

# Hash functions by COSE algorithm: HKDF's own numbers, and those of the HMAC inside.
HASHES: Final[Mapping[int, str]] = {
    -10: "sha256", 5: "sha256", 6: "sha384", -11: "sha512", 7: "sha512",
}  # fmt: skip
# Nonce lengths by COSE algorithm (RFC 9053 §4): a sender id has 6 bytes less (RFC 8613 §3.3).
NONCE_BYTES: Final[Mapping[int, int]] = {
    1: 12, 3: 12, 10: 13, 11: 13, 12: 7, 13: 7, 24: 12, 30: 13, 31: 13, 32: 7, 33: 7, 2: 12,
}  # fmt: skip

_HIDDEN: Final = frozenset({"master_secret", "master_salt"})
_ID_CONTEXT_BYTES_MAX: Final = 255

# Resources of object 21.
_SECRET, _SENDER, _RECIPIENT, _AEAD, _HKDF, _SALT, _ID_CONTEXT = range(7)


class InvalidMaterial(LwM2mError, ValueError):
    """Security material that makes no context: an unknown algorithm, an id that is too long."""


class OscoreMaterial(msgspec.Struct, frozen=True):
    """One security context before its keys are derived, as one of its two ends sees it.

    `endpoint_name` is the LwM2M endpoint that the other end has to be; None binds none. Raises
    `InvalidMaterial` at once for what cannot work.
    """

    master_secret: bytes
    sender_id: bytes
    recipient_id: bytes
    master_salt: bytes = b""
    id_context: bytes | None = None
    aead_algorithm: int = AES_CCM_16_64_128
    hkdf_algorithm: int = HKDF_SHA_256
    replay_window: int = 32
    endpoint_name: str | None = None

    def __post_init__(self) -> None:
        if self.aead_algorithm not in NONCE_BYTES:
            raise InvalidMaterial(f"AEAD algorithm {self.aead_algorithm} is not supported")
        if self.hkdf_algorithm not in HASHES:
            raise InvalidMaterial(f"HKDF algorithm {self.hkdf_algorithm} is not supported")
        longest = NONCE_BYTES[self.aead_algorithm] - 6
        if max(len(self.sender_id), len(self.recipient_id)) > longest:
            raise InvalidMaterial(f"ids have at most {longest} bytes with this algorithm")
        if self.sender_id == self.recipient_id:
            # §3.3: both ends would use the same key and nonce.
            raise InvalidMaterial("sender id and recipient id are the same")
        if not self.master_secret:
            raise InvalidMaterial("no master secret")
        if len(self.id_context or b"") > _ID_CONTEXT_BYTES_MAX:
            raise InvalidMaterial(f"an id context has at most {_ID_CONTEXT_BYTES_MAX} bytes")
        if not 1 <= self.replay_window <= 4_096:
            raise InvalidMaterial(f"a replay window of {self.replay_window}")

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


def mirrored(material: OscoreMaterial, endpoint_name: str | None = None) -> OscoreMaterial:
    """The same context as the other end sees it, with the endpoint that it expects here."""
    return msgspec.structs.replace(
        material,
        sender_id=material.recipient_id,
        recipient_id=material.sender_id,
        endpoint_name=endpoint_name,
    )


def material_of_object(
    resources: Mapping[int, Value], endpoint_name: str | None = None
) -> OscoreMaterial:
    """The material in an instance of object 21, by resource id.

    Version 2.0 has opaque values; the strings of 1.0 and 1.1 are read as hexadecimal, as the
    clients known to use them write them. Raises `InvalidMaterial`.
    """
    id_context = resources.get(_ID_CONTEXT)
    return OscoreMaterial(
        master_secret=_bytes_of(resources, _SECRET),
        sender_id=_bytes_of(resources, _SENDER),
        recipient_id=_bytes_of(resources, _RECIPIENT),
        master_salt=_bytes_of(resources, _SALT) if _SALT in resources else b"",
        id_context=_bytes_of(resources, _ID_CONTEXT) if id_context is not None else None,
        aead_algorithm=_integer_of(resources, _AEAD, AES_CCM_16_64_128),
        hkdf_algorithm=_integer_of(resources, _HKDF, HKDF_SHA_256),
        endpoint_name=endpoint_name,
    )


def object_of_material(material: OscoreMaterial) -> dict[int, Value]:
    """The resources of an instance of object 21, version 2.0, that hold this material."""
    found: dict[int, Value] = {
        _SECRET: material.master_secret,
        _SENDER: material.sender_id,
        _RECIPIENT: material.recipient_id,
        _AEAD: material.aead_algorithm,
        _HKDF: material.hkdf_algorithm,
    }
    if material.master_salt:
        found[_SALT] = material.master_salt
    if material.id_context is not None:
        found[_ID_CONTEXT] = material.id_context
    return found


def _bytes_of(resources: Mapping[int, Value], resource_id: int) -> bytes:
    value = resources.get(resource_id)
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            # Its text may be a secret: it is neither shown nor chained.
            raise InvalidMaterial(f"resource {resource_id} is not hexadecimal") from None
    raise InvalidMaterial(f"resource {resource_id} is missing or has no bytes")


def _integer_of(resources: Mapping[int, Value], resource_id: int, default: int) -> int:
    value = resources.get(resource_id, default)
    if not isinstance(value, int):
        raise InvalidMaterial(f"resource {resource_id} is not a number")
    return value
