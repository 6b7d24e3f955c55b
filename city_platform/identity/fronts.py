"""The client's address of a request, also when the dashboard stands between.

Only a program that shows the credential of a front is believed, and by a header of our own: what
proxies and strangers write into `X-Forwarded-For` or `Forwarded` is never looked at.
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request

from city_platform.identity.addresses import counted_address

CLIENT_ADDRESS_HEADER: Final = "Lamplighter-Client-Address"
UNKNOWN: Final = "unknown"
_log = logging.getLogger(__name__)


class Fronts:
    """Programs before this component, by their tokens. It counts into `counts`."""

    def __init__(self, tokens: Sequence[str], counts: Counter[str]) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._counts = counts
        self._has_warned = False

    def __repr__(self) -> str:
        return f"Fronts({len(self._tokens)} tokens)"

    def address_of(self, request: Request) -> str:
        """What the request's client is counted as: see `counted_address`."""
        told = request.headers.getlist(CLIENT_ADDRESS_HEADER)
        if told:
            found = counted_address(told[0]) if len(told) == 1 and self._is_front(request) else None
            if found is not None:
                return found
            self._not_believed()
        peer = request.client.host if request.client is not None else ""
        return counted_address(peer) or UNKNOWN

    def _is_front(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode()
        # Every one is compared: how long it takes tells nothing.
        matches = [hmac.compare_digest(given, expected) for expected in self._tokens]
        return scheme.lower() == "bearer" and any(matches)

    def _not_believed(self) -> None:
        self._counts["client_addresses_not_believed"] += 1
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "a sign-in named its client's address without a credential of front_token_files, "
                "and was counted as its sender's: if the dashboard sent it, give it a token of "
                "these as identity_token_file"
            )


def read_tokens(files: Sequence[str]) -> list[str]:
    """The tokens in files, one each. Raises `OSError`, and `ValueError` for an empty file."""
    found = []
    for file in files:
        token = Path(file).read_text().strip()
        if not token:
            raise ValueError(f"{file} is empty: it must hold a token")
        found.append(token)
    return found
