"""The Block option's value (RFC 7959 §2.2)."""

from __future__ import annotations

from typing import NamedTuple

from lwm2m.coap.options import encode_uint
from lwm2m.errors import LwM2mError

BLOCK_SIZES = (16, 32, 64, 128, 256, 512, 1024)
BLOCK_NUMBER_MAX = 0xFFFFF


class Block(NamedTuple):
    """Number, whether more follow, and size exponent: a block has 2 ** (szx + 4) bytes."""

    number: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Bytes of a whole block."""
        return 16 << self.szx

    @property
    def offset(self) -> int:
        """Where the block begins in the body, in bytes."""
        return self.number << (self.szx + 4)


class MalformedBlock(LwM2mError, ValueError):
    """A Block option with the reserved size exponent 7, or longer than 3 bytes."""


def decode_block(value: bytes) -> Block:
    """Decode an option value. Raises `MalformedBlock`."""
    number = int.from_bytes(value, "big")
    if number & 7 == 7 or len(value) > 3:
        # RFC 7959 §2.2: 7 is reserved and answered 4.00 (RFC 8323 gives it to reliable transports).
        raise MalformedBlock(f"block value {value.hex()}")
    return Block(number >> 4, number & 8 != 0, number & 7)


def encode_block(block: Block) -> bytes:
    """The option's value. Raises `ValueError` for a number of more than 20 bits."""
    if not 0 <= block.number <= BLOCK_NUMBER_MAX:
        raise ValueError(f"block number {block.number} has more than 20 bits")
    return encode_uint(block.number << 4 | (8 if block.more else 0) | block.szx)


def szx_of(size: int) -> int:
    """The exponent of a block size of `BLOCK_SIZES`."""
    return size.bit_length() - 5
