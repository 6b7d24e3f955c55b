"""What a story asks of the LwM2M server itself: operations on devices, open-loop, and its counters.

Where there is no platform, this is how a device is commanded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from contracts.data_interface import Operation, ResultError, Value
from contracts.load import OperationEnded, ServerCounted
from contracts.telemetry import ReadingValue
from fake_devices.fleet.loop_health import LagBook
from harness.lwm2m_server.admin import OperationRequest
from harness.runner.run import Run
from runtime.http_client import HttpClient, HttpError

# Longer than a block-wise transfer to a device that hundreds wait beside; the server's most.
WAIT_S: Final = 110.0
PROCESS: Final = "runner"
KIND: Final = "operation"
CONNECTIONS: Final = 32


class Wanted(NamedTuple):
    """One operation; `expected` is what a read must find."""

    endpoint: str
    operation: Operation
    path: str
    values: list[Value] | None = None
    expected: ReadingValue | None = None


class _Answer(msgspec.Struct):
    """As much of an outcome as is looked at; of one that is still open there is only an id."""

    id: str
    code: str | None = None
    values: list[Value] | None = None
    error: ResultError | None = None


async def operate(
    run: Run,
    wanted: Sequence[Wanted],
    *,
    rate_per_s: float | None = None,
    connections: int = CONNECTIONS,
) -> list[OperationEnded]:
    """Have all of these done, each when it is intended, and journal how each ended.

    Without a rate all are intended now; so many are under way at one time. How late each was
    posted is journalled with a rate only: without, their waiting is part of the load.
    """
    free: asyncio.Queue[HttpClient] = asyncio.Queue()
    address, token = run.bench.address("server", "admin"), run.bench.token()
    clients = [
        HttpClient(address, token, within_s=WAIT_S + 10.0)
        for _ in range(min(connections, len(wanted)))
    ]
    for client in clients:
        free.put_nowait(client)
    lags = LagBook()
    began_ns = run.clock.now_ns()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, each in enumerate(wanted):
            intended_ns = began_ns
            if rate_per_s is not None:
                intended_ns += round(number / rate_per_s * 1e9)
                await asyncio.sleep(max(0.0, (intended_ns - run.clock.now_ns()) / 1e9))
                lags.add(KIND, run.clock.now_ns() - intended_ns)
            tasks.append(group.create_task(_do(run, each, intended_ns, free)))
    for client in clients:
        await client.close()
    for sample in lags.take(PROCESS, run.clock.now_ns()):
        run.journal.record(sample)
    return [task.result() for task in tasks]


async def count(run: Run, when: str) -> dict[str, int]:
    """The server's counters, journalled."""
    client = run.bench.server_admin()
    numbers = await client.get("/v1/counters", dict[str, int])
    await client.close()
    server = run.bench.plan.server
    run.journal.record(
        ServerCounted(at_ns=run.clock.now_ns(), server=server, when=when, numbers=numbers)
    )
    return numbers


async def until_delivered(run: Run, newest: int, *, within_s: float = 30.0) -> None:
    """Wait until the reader of the data interface has all events up to `newest`."""
    if run.bench.plan.journals:
        await run.reach(
            f"{newest:,} events delivered", lambda: run.live.delivered >= newest, within_s
        )


async def _do(
    run: Run, wanted: Wanted, intended_ns: int, free: asyncio.Queue[HttpClient]
) -> OperationEnded:
    request = OperationRequest(
        endpoint=wanted.endpoint,
        operation=wanted.operation,
        path=wanted.path,
        values=wanted.values,
        wait_s=WAIT_S,
        expires_in_s=WAIT_S,
    )
    client = await free.get()
    try:
        answer = await client.post("/v1/operations", request, _Answer)
    except (HttpError, OSError) as error:
        answer = _Answer("", error=ResultError("unknown", str(error)))
    finally:
        free.put_nowait(client)
    ended = OperationEnded(
        at_ns=run.clock.now_ns(),
        endpoint=wanted.endpoint,
        operation=wanted.operation,
        path=wanted.path,
        intended_at_ns=intended_ns,
        code=answer.code or "",
        stage=_stage(answer),
        value=_value(answer) if wanted.operation == "read" else None,
        expected=wanted.expected,
    )
    run.journal.record(ended)
    return ended


def _stage(answer: _Answer) -> str:
    if answer.error is not None:
        return answer.error.stage
    return "" if answer.code is not None else "open"


def _value(answer: _Answer) -> ReadingValue | None:
    return answer.values[0].value if answer.values else None
