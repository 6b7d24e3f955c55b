"""Chance out of random bytes: numbers from [0, 1), each of bytes of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from city_platform.broker_access import chance_from


@given(st.binary(min_size=1, max_size=64), st.integers(1, 200))
def test_every_number_has_its_own_bytes(seed: bytes, wanted: int) -> None:
    drawn = bytearray()

    def draw(size: int) -> bytes:
        begin = len(drawn)
        drawn.extend(seed[number % len(seed)] for number in range(begin, begin + size))
        return bytes(drawn[begin:])

    chance = chance_from(draw)
    found = [chance() for _ in range(wanted)]
    assert all(0.0 <= number < 1.0 for number in found)
    whole = [int.from_bytes(drawn[at : at + 4]) / 2**32 for at in range(0, len(drawn), 4)]
    left = list(whole)
    for number in found:
        left.remove(number)
    # No more is drawn ahead than one draw has.
    assert len(left) < 64


def test_the_least_and_the_greatest_number() -> None:
    assert chance_from(lambda size: bytes(size))() == 0.0
    most = chance_from(lambda size: b"\xff" * size)
    assert {most() for _ in range(70)} == {1 - 2**-32}
