"""Starts the emulators of AWS that tests run against, each as a child on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from city_platform.stores.aws.calls import Answer, Aws
from city_platform.stores.aws.config import AwsLimits, AwsStores
from tests.processes import end, line_of

HAS_CLIENT = importlib.util.find_spec("aiobotocore") is not None
HAS_MOTO = HAS_CLIENT and importlib.util.find_spec("moto") is not None
ROOT = Path(__file__).parents[4]

# Keys of nobody: emulators take any.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
# No rest between tries and no pace: what they do is tested without a network.
FAST = AwsLimits(registry_per_s=100_000, publishes_per_s=100_000, first_pause_s=0.001, call_s=120.0)
_numbers = itertools.count()

needs_moto = pytest.mark.skipif(
    not HAS_MOTO, reason="needs the `aws` extra and moto: pip install 'lamplighter[aws,test]'"
)


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """The URL of a moto server that runs while the block does."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.city_platform.stores.aws.moto_server"],
        cwd=ROOT,
        env={**os.environ, **CREDENTIALS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        url = line_of(child)
        assert url.startswith("http://127.0.0.1:"), f"moto did not start: {url!r}"
        yield url
    finally:
        end(child)


def installation(url: str, **changes: object) -> AwsStores:
    """An installation of its own at an emulator: no test meets what another one left."""
    number = f"{os.getpid()}-{next(_numbers)}"
    given: dict[str, object] = {
        "region": "eu-central-1",
        "bucket": f"city-{number}",
        "name": f"city-{number}",
        "endpoints": {"default": url},
        "create_missing": True,
        "limits": FAST,
    }
    return AwsStores(**(given | changes))  # type: ignore[arg-type]  # fields by name


class Call(NamedTuple):
    """One call of an account, as botocore is told."""

    service: str
    operation: str
    parameters: Mapping[str, Any]


class RecordedAws(Aws):
    """An account whose calls are written down; `recorded` may be cleared."""

    def __init__(self, config: AwsStores, opened: contextlib.AsyncExitStack) -> None:
        super().__init__(config, opened, random.Random(1).random)
        self._session = _session(config.profile)
        self.recorded: list[Call] = []

    async def call(self, service: str, operation: str, /, **parameters: Any) -> Answer:
        self.recorded.append(Call(service, operation, parameters))
        return await super().call(service, operation, **parameters)


@cache
def _session(profile: str | None) -> Any:
    """What all accounts of a test process share: what services there are, read once."""
    from aiobotocore.session import AioSession

    return AioSession(profile=profile)


@contextlib.asynccontextmanager
async def account(config: AwsStores) -> AsyncIterator[RecordedAws]:
    """What calls the account while the block runs."""
    async with contextlib.AsyncExitStack() as opened:
        yield RecordedAws(config, opened)
