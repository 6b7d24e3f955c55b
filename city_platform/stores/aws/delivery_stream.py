"""Puts records into an Amazon Data Firehose delivery stream, at the pace that the account bears.

Records that a call did not take are sent again, and only those. What a stream has confirmed is
kept by it for a day and delivered at least once; the order of records is not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.errors import AwsUnavailable
from city_platform.stores.aws.limits import TokenBucket
from city_platform.stores.aws.stream_batches import batches, refused_records


class DeliveryStream:
    """One stream of the account. `counts` are records put and records that were sent again."""

    def __init__(self, aws: Aws, name: str) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self._aws = aws
        limits = aws.config.limits
        self._records = TokenBucket(limits.stream_records_per_s)
        self._bytes = TokenBucket(limits.stream_bytes_per_s)

    async def put(self, records: Sequence[bytes]) -> None:
        """Put records; returns when the stream has all of them.

        Raises `AwsUnavailable`: some of them may have been put, and all may be put again.
        `RecordTooLarge` and `AwsRefused` say what must be changed.
        """
        for batch in batches(records):
            await self._put(batch)

    async def _put(self, batch: list[bytes]) -> None:
        left, word, tries = batch, "", 0
        try:
            async with asyncio.timeout(None) as bound:
                while left:
                    await self._turn(left)
                    if tries == 0:
                        # Waiting for the first turn is our own pace, not AWS's silence.
                        bound.reschedule(_now_s() + self._aws.config.limits.call_s)
                    tries += 1
                    sent = left
                    left, word = await self._try(sent)
                    self.counts["put"] += len(sent) - len(left)
                    if left:
                        await self._rest(len(left), tries)
        except TimeoutError:
            raise AwsUnavailable(
                f"AWS firehose did not take {len(left)} of {len(batch)} records of {self.name}"
                f" within {self._aws.config.limits.call_s:g} s ({word or 'no answer'})"
            ) from None

    async def _try(self, records: list[bytes]) -> tuple[list[bytes], str]:
        """Those that were not taken, and why."""
        answer = await self._aws.call(
            "firehose",
            "put_record_batch",
            DeliveryStreamName=self.name,
            Records=[{"Data": record} for record in records],
        )
        return refused_records(records, answer)

    async def _turn(self, records: list[bytes]) -> None:
        size = sum(len(record) for record in records)
        now_s = _now_s()
        wait_s = max(self._records.take(now_s, len(records)), self._bytes.take(now_s, size))
        if wait_s > 0:
            self.counts["paced"] += 1
            await asyncio.sleep(wait_s)

    async def _rest(self, refused: int, tries: int) -> None:
        self.counts["sent_again"] += refused
        for bucket in (self._records, self._bytes):
            bucket.drain(_now_s())
        await self._aws.rest(tries)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
