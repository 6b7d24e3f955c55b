"""The firmware packages of simulated devices: a format of our own, for want of a standard one.

Big-endian, without padding: the four bytes `LLFW`, a format number (1), the length of the name and
the name (UTF-8, the model it is for), the length of the version and the version, each length in one
byte; the image's length in four bytes, the SHA-256 of all bytes before it and of the image (32
bytes), and the image, which may be anything.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec

from lwm2m.errors import DamagedPackage, MalformedPackage

MAGIC: Final = b"LLFW"
FORMAT: Final = 1
_DIGEST_BYTES: Final = 32
_LENGTH: Final = struct.Struct(">I")


class FirmwarePackage(msgspec.Struct, frozen=True):
    """One package: `name` is the model it is for, `version` what the device is after it."""

    name: str
    version: str
    image: bytes = b""

    def __repr__(self) -> str:
        return f"FirmwarePackage({self.name!r}, {self.version!r}, {len(self.image)} bytes)"


def encode_package(package: FirmwarePackage) -> bytes:
    """The bytes that `decode_package` reads. Raises `ValueError` for names over 255 bytes."""
    header = MAGIC + bytes([FORMAT])
    for text in (package.name, package.version):
        encoded = text.encode()
        header += bytes([len(encoded)]) + encoded
    header += _LENGTH.pack(len(package.image))
    return header + _digest(header, package.image) + package.image


def decode_package(data: bytes) -> FirmwarePackage:
    """The package that `data` is.

    Raises `MalformedPackage` for what is no package of this format (result 6), `DamagedPackage`
    for one whose bytes were changed, cut off or added to (result 5).
    """
    if data[: len(MAGIC) + 1] != MAGIC + bytes([FORMAT]):
        raise MalformedPackage("it does not begin as a package does")
    name, offset = _text(data, len(MAGIC) + 1)
    version, offset = _text(data, offset)
    header_end = offset + _LENGTH.size
    image_begin = header_end + _DIGEST_BYTES
    if len(data) < image_begin:
        raise DamagedPackage("the header is cut off")
    (image_bytes,) = _LENGTH.unpack_from(data, offset)
    image = data[image_begin:]
    if len(image) != image_bytes:
        raise DamagedPackage(f"{len(image)} bytes of an image of {image_bytes}")
    if _digest(data[:header_end], image) != data[header_end:image_begin]:
        raise DamagedPackage("the checksum is wrong")
    return FirmwarePackage(name, version, image)


def _digest(header: bytes, image: bytes) -> bytes:
    found = hashlib.sha256(header)
    found.update(image)
    return found.digest()


def _text(data: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + (data[offset] if offset < len(data) else 0)
    if end > len(data) or offset >= len(data):
        raise DamagedPackage("the header is cut off")
    try:
        return data[offset + 1 : end].decode(), end
    except UnicodeDecodeError:
        raise DamagedPackage("a text is not UTF-8") from None
