"""Tells the bootstrap handler whose credentials were renewed: registered devices get them at once.

Nothing here is durable: whom a kill kept from being told is told of at the next start (see
`confirmations`), and gets the renewed credentials at its next registration all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from city_platform.provisioning.hand_over import read_token
from runtime.http_client import HttpClient, HttpError

RETRY_S_MIN, RETRY_S_MAX = 0.5, 30.0
WAITING_MAX = 1_000_000
_NOT_FOUND = 404

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """The handler's answer: whether the device is sent its credentials now."""

    driven: bool = False


class Renewals:
    """`run` tells the handler of those that `add` has brought. `handler` gives its `host:port`
    (None: nobody is told) and the file with its token; both may change while it runs.

    Counters: `told`, `driven`, `not_registered`, `dropped`.
    """

    def __init__(
        self, handler: Callable[[], tuple[str | None, str]], retry_s_min: float = RETRY_S_MIN
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._handler = handler
        self._retry_s_min = retry_s_min
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._added = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many are still to be told of."""
        return len(self._waiting)

    def add(self, endpoints: Iterable[str]) -> None:
        """These devices' credentials are other ones now, and stored."""
        for endpoint in endpoints:
            if len(self._waiting) < WAITING_MAX:
                self._waiting[endpoint] = None
            else:
                self.counts["dropped"] += 1
        self._added.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        pause_s = self._retry_s_min
        while True:
            await self._added.wait()
            self._added.clear()
            try:
                await self._tell_all()
                pause_s = self._retry_s_min
            except (OSError, HttpError, msgspec.DecodeError) as error:
                _log.warning("renewals wait for the handler, again in %.1f s: %s", pause_s, error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
                self._added.set()

    async def _tell_all(self) -> None:
        address, token_file = self._handler()
        if address is None:
            # Devices get what is theirs when they register; it is known where only later.
            self._waiting.clear()
            return
        client = HttpClient(address, read_token(token_file))
        try:
            while self._waiting:
                endpoint = next(iter(self._waiting))
                del self._waiting[endpoint]
                await self._tell(client, endpoint)
        finally:
            await client.close()

    async def _tell(self, client: HttpClient, endpoint: str) -> None:
        path = f"/v1/devices/{endpoint}/renewed"
        try:
            answer = await client.send("POST", path, b"", Told)
            self.counts["told"] += 1
            self.counts["driven"] += answer.driven
        except HttpError as error:
            if error.status != _NOT_FOUND:
                self.add([endpoint])
                raise
            # It gets what is its own when it registers.
            self.counts["not_registered"] += 1
        except BaseException:
            self.add([endpoint])
            raise
