"""Brokers hear that certificates have changed, in the way that each is configured to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from city_platform.provisioning.broker_notices import (
    BrokerNotice,
    BrokerNotices,
    RunIt,
    SayIt,
    SignalIt,
)
from city_platform.provisioning.config import ProvisioningConfig
from tests.processes import WITHIN_S


@contextlib.asynccontextmanager
async def telling(
    *notices: BrokerNotice,
) -> AsyncIterator[tuple[BrokerNotices, asyncio.Queue[Mapping[str, Any]]]]:
    said: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    found = BrokerNotices(notices, said.put_nowait, retry_s_min=0.01)
    task = asyncio.ensure_future(found.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield found, said
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_starter_is_told_on_standard_output() -> None:
    async def story() -> None:
        async with telling(SayIt()) as (notices, said):
            notices.changed()
            assert await said.get() == {"pki_changed": True}
            notices.changed()
            assert await said.get() == {"pki_changed": True}

    asyncio.run(story())


def test_what_changes_in_one_turn_is_told_once() -> None:
    async def story() -> None:
        async with telling(SayIt()) as (notices, said):
            for _ in range(5):
                notices.changed()
            await said.get()
            assert said.empty()
            assert notices.counts == {"told": 1}

    asyncio.run(story())


def test_a_process_is_sent_a_hangup(tmp_path: Path) -> None:
    async def story() -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heard.set)
        pid_file = tmp_path / "broker.pid"
        pid_file.write_text(f"{os.getpid()}\n")
        async with telling(SignalIt(pid_file=str(pid_file))) as (notices, _):
            notices.changed()
            await heard.wait()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    asyncio.run(story())


@pytest.mark.parametrize("content", [None, "", "0", "1", "-1", "12 13", "9" * 40, "ä", "4194304"])
def test_a_file_without_a_process_is_told_of_and_harms_nobody(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        pid_file = tmp_path / "broker.pid"
        if content is not None:
            pid_file.write_text(content)
        async with telling(SignalIt(pid_file=str(pid_file)), SayIt()) as (notices, said):
            notices.changed()
            await said.get()
            # The one that can be told hears it again, since the other one is tried again.
            await said.get()
            assert notices.counts["failed"] >= 1

    asyncio.run(story())
    assert str(tmp_path / "broker.pid") in caplog.text


def test_a_program_is_run_and_tried_again_when_it_fails(tmp_path: Path) -> None:
    async def story() -> None:
        first, done = tmp_path / "first", tmp_path / "done"
        script = f'if [ -e "{first}" ]; then touch "{done}"; else touch "{first}"; exit 3; fi'
        async with telling(RunIt(command=("/bin/sh", "-c", script)), SayIt()) as (notices, said):
            notices.changed()
            await said.get()
            await said.get()
            assert done.exists()
            assert notices.counts == {"told": 3, "failed": 1}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("/nowhere/program",), "No such file"),
        (("/bin/sh", "-c", "exit 7"), "ended with code 7"),
        (("/bin/sleep", "60"), "took longer than 0.05 s"),
    ],
)
def test_a_program_that_does_not_do_it_is_told_of(
    command: tuple[str, ...], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with telling(RunIt(command=command, within_s=0.05), SayIt()) as (notices, said):
            notices.changed()
            await said.get()

    asyncio.run(story())
    assert told in caplog.text


def test_ways_are_read_from_the_configuration() -> None:
    written = {
        "state_dir": "s",
        "token_file": "t",
        "brokers": [
            {"how": "say"},
            {"how": "hangup", "pid_file": "/run/mosquitto.pid"},
            {"how": "command", "command": ["systemctl", "reload", "mosquitto"]},
        ],
    }
    config = msgspec.convert(written, ProvisioningConfig)
    assert [type(each) for each in config.brokers] == [SayIt, SignalIt, RunIt]
    wrong = {**written, "brokers": [{"how": "command", "command": []}]}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ProvisioningConfig)
