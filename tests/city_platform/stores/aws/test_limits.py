"""An account's limits are met, not hit; and what is refused all the same is tried again."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.config import AwsLimits, AwsStores
from city_platform.stores.aws.errors import AwsRefused, AwsUnavailable
from city_platform.stores.aws.limits import TokenBucket, pause_s, should_retry
from city_platform.stores.aws.policies import aws_name, policy_document
from contracts.names import Principal
from contracts.policy import policy_for
from contracts.topics import Topics
from tests.city_platform.stores.aws.emulators import needs_moto


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(10.0, burst=2)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]
    assert bucket.take(10.0) == 0.0


def test_a_drained_bucket_has_no_burst() -> None:
    bucket = TokenBucket(10.0)
    bucket.drain(0.0)
    assert bucket.take(0.0) == 0.1


@given(st.lists(st.floats(0, 5), min_size=30, max_size=60), st.floats(1, 50))
def test_no_second_sees_more_than_rate_and_burst(pauses: list[float], rate: float) -> None:
    bucket, now_s, happens = TokenBucket(rate), 0.0, []
    for pause in pauses:
        now_s += pause / rate
        happens.append(now_s + bucket.take(now_s))
    for begins in happens:
        within = sum(begins <= one < begins + 1 - 1e-6 for one in happens)
        assert within <= 2 * max(1.0, rate) + 1


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_s(tries, 1.0, 0.1, 0.5) for tries in range(1, 5)] == [0.1, 0.2, 0.4, 0.5]
    assert pause_s(3, 0.0, 0.1, 0.5) == 0.0


def test_only_what_may_help_is_tried_again() -> None:
    assert should_retry("ThrottlingException", 400)
    assert should_retry("", 503)
    assert not should_retry("AccessDeniedException", 403)


@given(st.lists(st.text(max_size=200), unique=True, max_size=20))
def test_names_are_legal_and_stay_different(names: list[str]) -> None:
    made = [aws_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(
        len(one) <= 128 and set(one) <= set(aws_name.__doc__ or "") | set(one) for one in made
    )


def test_a_devices_policy_is_its_own_alone() -> None:
    policy = policy_for(Principal("device", "lamp-1"), Topics())
    document = policy_document(policy, "lamp-1", "arn:aws:iot:r:1")
    assert '"arn:aws:iot:r:1:client/lamp-1"' in document
    assert '"arn:aws:iot:r:1:topic/devices/lamp-1/state"' in document
    assert "Subscribe" not in document
    assert "*" not in document


async def _call(config: AwsStores, operation: str = "list_tables") -> None:
    async with contextlib.AsyncExitStack() as opened:
        await Aws(config, opened, lambda: 0.0).call("dynamodb", operation)


@needs_moto
def test_a_service_that_keeps_failing_is_unavailable_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    config = AwsStores(
        region="eu-central-1",
        bucket="b",
        endpoints={"default": "http://127.0.0.1:1"},
        limits=AwsLimits(call_s=0.05, first_pause_s=0.001),
    )
    with pytest.raises(AwsUnavailable, match=r"dynamodb did not do list_tables within 0.05 s"):
        asyncio.run(_call(config))


@needs_moto
def test_without_credentials_the_reason_is_told_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    config = AwsStores(
        region="eu-central-1", bucket="b", endpoints={"default": "http://127.0.0.1:1"}
    )
    with pytest.raises(AwsRefused, match="NoCredentials"):
        asyncio.run(_call(config))
