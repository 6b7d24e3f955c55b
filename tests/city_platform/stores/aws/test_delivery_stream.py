"""Records reach a delivery stream whole: cut to its limits, refused ones again and only those."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.stores.aws.config import AwsLimits
from city_platform.stores.aws.delivery_stream import DeliveryStream
from city_platform.stores.aws.errors import AwsRefused, AwsUnavailable
from city_platform.stores.aws.opening import open_objects
from city_platform.stores.aws.stream_batches import (
    BATCH_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    RecordTooLarge,
    batches,
    line_records,
    refused_records,
)
from city_platform.stores.object_store import NewObject
from tests.city_platform.stores.aws.emulators import CREDENTIALS, account, installation, needs_moto
from tests.city_platform.stores.aws.scripted_firehose import (
    Judge,
    ScriptedFirehose,
    Verdicts,
    scripted_firehose,
)

_LINE = st.binary(max_size=40).map(lambda one: one.replace(b"\n", b"."))
QUICK = AwsLimits(first_pause_s=0.001, longest_pause_s=0.002)


@given(st.lists(st.integers(0, RECORD_BYTES_MAX), max_size=40), st.integers(0, 1_200))
def test_no_call_has_more_than_a_stream_takes(sizes: list[int], small: int) -> None:
    block = bytes(RECORD_BYTES_MAX)
    records = [block[:size] for size in sizes] + [b"x"] * small
    made = list(batches(records))
    assert [one for batch in made for one in batch] == records
    for batch in made:
        assert 0 < len(batch) <= RECORDS_MAX
        assert sum(map(len, batch)) <= BATCH_BYTES_MAX


def test_a_record_that_no_stream_takes_is_refused_before_any_is_sent() -> None:
    with pytest.raises(RecordTooLarge, match="1024001 bytes"):
        next(batches([b"good", bytes(RECORD_BYTES_MAX + 1)]))


@given(st.lists(_LINE), st.integers(1, 60))
def test_lines_stay_whole_in_their_records(lines: list[bytes], record_bytes: int) -> None:
    text = b"".join(line + b"\n" for line in lines)
    records = line_records(text, record_bytes)
    assert b"".join(records) == text
    for record in records:
        assert record.endswith(b"\n")
        assert len(record) <= record_bytes or record.count(b"\n") == 1


def test_only_records_with_an_error_are_sent_again() -> None:
    answer = {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"}, {"ErrorCode": "Slow"}]}
    assert refused_records([b"a", b"b"], answer) == ([b"b"], "Slow")
    assert refused_records([b"a", b"b"], {"FailedPutCount": 0}) == ([], "")


@pytest.mark.parametrize("told", [[], [{"RecordId": "1"}], [{"RecordId": "1"}, {"RecordId": "2"}]])
def test_an_answer_that_does_not_say_which_failed_says_nothing_of_any(
    told: list[dict[str, str]],
) -> None:
    answer = {"FailedPutCount": 1, "RequestResponses": told}
    assert refused_records([b"a", b"b"], answer)[0] == [b"a", b"b"]


Story = Callable[[ScriptedFirehose, DeliveryStream], Awaitable[None]]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Judge, Story, AwsLimits], None]:
    """Runs a story with a stream that judges as it is told."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    async def with_stream(judge: Judge, story: Story, limits: AwsLimits) -> None:
        async with (
            scripted_firehose(judge) as (firehose, url),
            account(installation(url, limits=limits)) as aws,
        ):
            await story(firehose, DeliveryStream(aws, "city-archive"))

    return lambda judge, story, limits: asyncio.run(with_stream(judge, story, limits))


def _takes_all(records: Sequence[bytes]) -> Verdicts:
    return [None] * len(records)


Tell = Callable[[Judge, Story, AwsLimits], None]


@needs_moto
def test_refused_records_come_again_and_the_taken_ones_do_not(tell: Tell) -> None:
    refusals = iter([{b"2", b"5"}, {b"5"}, set[bytes]()])

    def judge(records: Sequence[bytes]) -> Verdicts:
        refused = next(refusals)
        return ["ServiceUnavailableException" if one in refused else None for one in records]

    async def story(firehose: ScriptedFirehose, stream: DeliveryStream) -> None:
        await stream.put([b"%d" % number for number in range(7)])
        assert [len(call) for call in firehose.calls] == [7, 2, 1]
        assert sorted(firehose.taken) == [b"%d" % number for number in range(7)]
        assert stream.counts["put"] == 7
        assert stream.counts["sent_again"] == 3

    tell(judge, story, QUICK)


@needs_moto
def test_a_throttled_call_comes_again_whole(tell: Tell) -> None:
    refusals = iter(["ServiceUnavailableException", "LimitExceededException"])

    def judge(records: Sequence[bytes]) -> Verdicts:
        return next(refusals, None) or [None] * len(records)

    async def story(firehose: ScriptedFirehose, stream: DeliveryStream) -> None:
        await stream.put([b"a", b"b"])
        assert firehose.taken == [b"a", b"b"]
        assert len(firehose.calls) == 3

    tell(judge, story, QUICK)


@needs_moto
@pytest.mark.slow
def test_a_stream_that_goes_on_refusing_is_unavailable_in_bounded_time(tell: Tell) -> None:
    def judge(records: Sequence[bytes]) -> Verdicts:
        if records == [b"first"]:
            return [None]
        return [None, *["InternalFailure"] * (len(records) - 1)] if len(records) > 1 else ["No"]

    async def story(firehose: ScriptedFirehose, stream: DeliveryStream) -> None:
        await stream.put([b"first"])  # a client's own beginning takes its time
        with pytest.raises(AwsUnavailable, match=r"1 of 2 records of city-archive within 5 s"):
            await stream.put([b"a", b"b"])
        assert firehose.taken == [b"first", b"a"]

    tell(judge, story, AwsLimits(call_s=5, first_pause_s=0.001, longest_pause_s=0.01))


@needs_moto
def test_what_is_wrong_with_the_call_is_told_and_not_tried_again(tell: Tell) -> None:
    async def story(firehose: ScriptedFirehose, stream: DeliveryStream) -> None:
        with pytest.raises(AwsRefused, match="ResourceNotFoundException"):
            await stream.put([b"a"])
        assert len(firehose.calls) == 1

    tell(lambda _: "ResourceNotFoundException", story, QUICK)


@needs_moto
def test_records_beyond_the_pace_wait_for_their_turn(tell: Tell) -> None:
    async def story(firehose: ScriptedFirehose, stream: DeliveryStream) -> None:
        await stream.put([bytes(110)] * RECORDS_MAX)
        # 55,000 bytes where a second has 50,000: the rest is lent, and waited for.
        assert stream.counts["paced"] == 1
        assert firehose.taken == [bytes(110)] * RECORDS_MAX

    limits = AwsLimits(stream_bytes_per_s=50_000, first_pause_s=0.001)
    tell(_takes_all, story, limits)


@pytest.mark.moto
@pytest.mark.slow
def test_the_archive_goes_through_its_stream_and_credentials_do_not(moto: str) -> None:
    lines = b"".join(b'{"line":%d}\n' % number for number in range(9))

    async def story() -> None:
        config = installation(moto, archive_stream=f"archive-{id(moto)}")
        async with account(config) as aws:
            objects = await open_objects(aws)
            await aws.call(
                "firehose",
                "create_delivery_stream",
                DeliveryStreamName=str(config.archive_stream),
                ExtendedS3DestinationConfiguration={
                    "RoleARN": "arn:aws:iam::123456789012:role/stream",
                    "BucketARN": f"arn:aws:s3:::{config.bucket}",
                    "Prefix": "archive/",
                },
            )
            await objects.put(
                [
                    NewObject("archive/2026/05/31/14/0.jsonl.gz", gzip.compress(lines)),
                    NewObject("credentials/lamp-1.json", b"{}", owner_only=True),
                ],
                sync=True,
            )
            assert await objects.names("credentials/") == ["credentials/lamp-1.json"]
            archived = await objects.names("archive/")
            assert "archive/2026/05/31/14/0.jsonl.gz" not in archived
            found = await objects.get_many(archived)
            assert b"".join(one for one in found if one is not None) == lines

    asyncio.run(story())
