"""Refuses JSON whose objects say one key twice.

RFC 8259 §4 leaves open what such a document means, and readers differ: the first one wins, or the
last, or none. What one of ours reads as one command, a proxy before it or the audit behind it could
read as another.
"""

from __future__ import annotations

import json
from typing import Any, Final

_KEY_LENGTH_TOLD: Final = 64
_BEGINNINGS: Final = (b"{", b"[")
_SPACE: Final = b" \t\r\n"


class RepeatedKey(Exception):
    """An object of a JSON document says a key twice; the text names it."""


def refuse_repeated_keys(document: bytes) -> None:
    """Return when every object of a JSON document says each key once. Raises `RepeatedKey`.

    What is no JSON is left to who decodes it. 5 µs for a command.
    """
    if not document.lstrip(_SPACE).startswith(_BEGINNINGS):
        return
    try:
        # What is no UTF-8 may stand where a decoder does not look: in what it passes over.
        _decoder.decode(document.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    except RecursionError:
        raise RepeatedKey(
            "it is nested too deeply to see whether an object has a key twice"
        ) from None


def _look_at(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            # `repr` has no letter that a log or a page could not show.
            raise RepeatedKey(
                f"an object has the key {key[:_KEY_LENGTH_TOLD]!r} twice: say it once"
            )
        seen.add(key)


# Numbers are not made: those of a million digits would take long. `strict` is about control
# characters in texts, which are the decoder's to refuse.
_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_look_at, parse_int=len, parse_float=len, strict=False
)
