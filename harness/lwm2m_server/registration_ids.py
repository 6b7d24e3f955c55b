"""Registration ids that nobody can guess."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Final

_ID_BYTES: Final = 6
_IDS_AT_ONCE: Final = 170


def registration_ids(draw: Callable[[int], bytes]) -> Callable[[], str]:
    """Gives ids that nobody can guess, made by the hundred: a call of ours for each costs more."""

    def draw_some() -> list[str]:
        return draw(_IDS_AT_ONCE * _ID_BYTES).hex(" ", _ID_BYTES).split()

    return chain.from_iterable(iter(draw_some, [])).__next__
