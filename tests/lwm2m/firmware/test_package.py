"""Firmware packages: round trips, and bytes that are none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.errors import DamagedPackage, MalformedPackage
from lwm2m.firmware import FirmwarePackage, decode_package, encode_package

NAMES = st.text(max_size=60)
PACKAGE = FirmwarePackage("street_lamp", "2.0.0", b"image" * 100)


@given(name=NAMES, version=NAMES, image=st.binary(max_size=2_000))
def test_a_package_comes_back_as_it_was(name: str, version: str, image: bytes) -> None:
    package = FirmwarePackage(name, version, image)
    assert decode_package(encode_package(package)) == package


@given(data=st.binary(max_size=200), has_magic=st.booleans())
def test_any_bytes_are_a_package_or_our_own_error(data: bytes, has_magic: bool) -> None:
    with contextlib.suppress(MalformedPackage):
        decode_package(b"LLFW\x01" + data if has_magic else data)


@given(position=st.integers(min_value=5), bit=st.integers(0, 7))
def test_a_package_with_one_wrong_bit_is_damaged(position: int, bit: int) -> None:
    data = bytearray(encode_package(PACKAGE))
    data[5 + position % (len(data) - 5)] ^= 1 << bit
    with pytest.raises(DamagedPackage):
        decode_package(bytes(data))


@given(length=st.integers(5, 555))
def test_a_package_that_is_cut_off_is_damaged(length: int) -> None:
    data = encode_package(PACKAGE)
    with pytest.raises(DamagedPackage):
        decode_package(data[: min(length, len(data) - 1)])


def test_bytes_after_the_image_are_damage() -> None:
    with pytest.raises(DamagedPackage):
        decode_package(encode_package(PACKAGE) + b"x")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"LLFW\x02"])
def test_another_format_is_no_package(data: bytes) -> None:
    with pytest.raises(MalformedPackage) as error:
        decode_package(data)
    assert not isinstance(error.value, DamagedPackage)


def test_a_text_that_is_not_utf8_is_damage() -> None:
    with pytest.raises(DamagedPackage, match="UTF-8"):
        decode_package(b"LLFW\x01\x01\xff\x00")


def test_a_repr_does_not_show_the_image() -> None:
    assert repr(PACKAGE) == "FirmwarePackage('street_lamp', '2.0.0', 500 bytes)"
