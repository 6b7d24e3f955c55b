"""Calls AWS: bounded in time and number, paced by buckets, tried again when that may help.

The only module that knows aiobotocore. Credentials are found by it (environment, profile, role) and
are never handled here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, cast

from city_platform.stores.aws.config import AwsStores
from city_platform.stores.aws.errors import AwsRefused, AwsUnavailable
from city_platform.stores.aws.limits import TokenBucket, pause_s, should_retry

Answer = dict[str, Any]

# Services whose accounts allow so few calls a second that we keep to it beforehand.
_PACED: Final = frozenset({"firehose", "iot", "iot-data"})


class Aws:
    """Clients of one account, made when they are first used. `opened` closes them.

    `chance` spreads the tries. `counts` are the calls, tries and pauses by service.
    """

    def __init__(
        self,
        config: AwsStores,
        opened: contextlib.AsyncExitStack,
        chance: Callable[[], float],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.config = config
        self._opened = opened
        self._chance = chance
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._making = asyncio.Lock()
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._in_flight = asyncio.Semaphore(config.limits.in_flight_max)

    async def call(self, service: str, operation: str, /, **parameters: Any) -> Answer:
        """What the service answers. Raises `AwsRefused` and `AwsUnavailable`.

        `operation` is named as in botocore: `put_object`.
        """
        limits = self.config.limits
        client = await self._client(service)
        last = "no answer"
        # Who waits for its turn takes nobody's place, and its time has not begun.
        await self._turn(service, operation)
        try:
            async with self._in_flight, asyncio.timeout(limits.call_s):
                tries = 0
                while True:
                    tries += 1
                    answer, last = await self._try(client, service, operation, parameters)
                    if answer is not None:
                        return answer
                    self.counts[f"{service}.tried_again"] += 1
                    if service in _PACED:
                        self._bucket(service, operation).drain(_now_s())
                    await self.rest(tries)
        except TimeoutError:
            raise AwsUnavailable(
                f"AWS {service} did not do {operation} within {limits.call_s:g} s ({last})"
            ) from None

    async def pages(
        self, service: str, operation: str, /, token: tuple[str, str], **parameters: Any
    ) -> AsyncGenerator[Answer, None]:
        """Answer after answer; `token` names the field that goes on: (in the answer, in the
        call)."""
        found, given = token
        while True:
            answer = await self.call(service, operation, **parameters)
            yield answer
            if not answer.get(found):
                return
            parameters[given] = answer[found]

    async def read(self, service: str, stream: Any) -> bytes:
        """All of an answer's body. Raises `AwsUnavailable`."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError

        try:
            async with asyncio.timeout(self.config.limits.call_s), stream:
                return bytes(await stream.read())
        except (HttpError, BotoCoreError, OSError) as error:
            raise AwsUnavailable(
                f"AWS {service}: an answer did not come whole ({type(error).__name__})"
            ) from None

    async def rest(self, tries: int) -> None:
        """Wait before the next try."""
        limits = self.config.limits
        await asyncio.sleep(
            pause_s(tries, self._chance(), limits.first_pause_s, limits.longest_pause_s)
        )

    async def _try(
        self, client: Any, service: str, operation: str, parameters: Mapping[str, Any]
    ) -> tuple[Answer | None, str]:
        """The answer, or None and the reason when the call may be tried again."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        self.counts[f"{service}.calls"] += 1
        try:
            async with asyncio.timeout(self.config.limits.try_s):
                return cast(Answer, await getattr(client, operation)(**parameters)), ""
        except ClientError as error:
            told: Any = error.response
            code = str(told.get("Error", {}).get("Code", ""))
            status = told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if should_retry(code, status):
                return None, code
            message = str(told.get("Error", {}).get("Message", ""))
            raise _refused(service, operation, code, message, told) from None
        except HTTPClientError as error:
            return None, type(error).__name__
        except (HttpError, OSError) as error:
            return None, type(error).__name__
        except BotoCoreError as error:
            # No credentials, no region, a parameter that botocore does not know.
            raise AwsRefused(service, operation, type(error).__name__, str(error)) from None

    async def _turn(self, service: str, operation: str) -> None:
        if service in _PACED:
            wait_s = self._bucket(service, operation).take(_now_s())
            if wait_s > 0:
                self.counts[f"{service}.paced"] += 1
                await asyncio.sleep(wait_s)

    def _bucket(self, service: str, operation: str) -> TokenBucket:
        found = self._buckets.get((service, operation))
        if found is None:
            limits = self.config.limits
            others = {
                "iot-data": limits.publishes_per_s,
                "firehose": limits.stream_requests_per_s,
            }
            per_s = others.get(service, limits.registry_per_s)
            found = self._buckets[service, operation] = TokenBucket(per_s)
        return found

    async def _client(self, service: str) -> Any:
        async with self._making:
            if service not in self._clients:
                self._clients[service] = await self._made(service)
            return self._clients[service]

    async def _made(self, service: str) -> Any:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import AioSession
        from botocore.exceptions import BotoCoreError

        config, limits = self.config, self.config.limits
        url = config.endpoints.get(service) or config.endpoints.get("default")
        try:
            if self._session is None:
                self._session = AioSession(profile=config.profile)
            making = self._session.create_client(
                service,
                region_name=config.region,
                endpoint_url=url,
                config=AioConfig(
                    connect_timeout=limits.try_s,
                    read_timeout=limits.try_s,
                    max_pool_connections=limits.in_flight_max,
                    # Tries are ours: within one bound of time, paced by one bucket.
                    retries={"total_max_attempts": 1},
                    # Emulators have one name for all buckets.
                    s3={"addressing_style": "path"} if url else None,
                ),
            )
            return await self._opened.enter_async_context(making)
        except (BotoCoreError, ValueError) as error:
            raise AwsRefused(service, "create_client", type(error).__name__, str(error)) from None


def _refused(
    service: str, operation: str, code: str, message: str, told: Mapping[str, Any]
) -> AwsRefused:
    refused = AwsRefused(service, operation, code, message)
    refused.details = told
    return refused


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def gathered(work: list[Any]) -> list[Any]:
    """The results of coroutines that run together, in order; when one fails, all others end and its
    error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
