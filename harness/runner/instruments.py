"""The instruments of a run: taps of broker, store and processes, running while its story does."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from functools import partial

from contracts.data_interface import PATH
from contracts.journal import Note
from harness.bench import configs
from harness.bench.bench import Bench, tap_identity
from harness.checks.faults import NOTE_BENCH_FAULT
from harness.errors import HarnessError
from harness.runner.live import Live
from harness.runner.watchdog import Watchdog
from harness.taps import BrokerTap, ProcessTap, StoreTap
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import Clock
from runtime.journal import JournalSink

TAP_CONNECTS_WITHIN_S = 60.0
EVENT_READER = "event_reader"


@contextlib.asynccontextmanager
async def taps_on(
    bench: Bench, journal: JournalSink, clock: Clock, live: Live, *, broker: bool
) -> AsyncIterator[None]:
    """The instruments, running while the block runs.

    `broker`: with a tap at the broker; without a platform, a reader at the data interface.
    """
    processes = ProcessTap(lambda: bench.processes.values(), journal, clock)
    journals = bench.plan.output_dir / "journal"
    watchdog = Watchdog(lambda: bench.processes.values(), journals, journal, clock, live.fail)
    tasks = [asyncio.create_task(processes.run()), asyncio.create_task(watchdog.run())]

    def failed(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            text = f"what observes the run failed: {type(error).__name__}: {error}"
            journal.record(Note(at_ns=clock.now_ns(), name=NOTE_BENCH_FAULT, text=text))
            live.fail(HarnessError(text))

    try:
        if not bench.plan.with_platform:
            if broker:
                await bench.start_further(EVENT_READER, "instruments", *_event_reader(bench))
        else:
            store = StoreTap(bench.http("ingestion"), journal, clock, live.feed_seen)
            tasks.append(asyncio.create_task(store.run()))
        if broker and bench.plan.with_platform:
            tap = BrokerTap(bench.plan.topics, journal, clock, live.message_seen)
            client = _broker_tap_client(bench, tap, clock)
            tasks.append(asyncio.create_task(client.run()))
            async with asyncio.timeout(TAP_CONNECTS_WITHIN_S):
                await client.connected.wait()
        for task in tasks:
            task.add_done_callback(failed)
        yield
    finally:
        processes.sample()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _event_reader(bench: Bench) -> tuple[list[str], dict[str, str]]:
    """The reader's command line and its configuration."""
    return ["-m", "harness.bench.event_reader"], {
        "url": f"ws://{bench.address('server', 'data')}{PATH}",
        "token_file": str(configs.data_token_file(bench.plan)),
        "journal_file": str(bench.plan.output_dir / "journal" / f"{EVENT_READER}.jsonl"),
    }


def _broker_tap_client(bench: Bench, tap: BrokerTap, clock: Clock) -> MqttClient:
    host, _, port = bench.address("broker", "mqtt").rpartition(":")
    files = configs.client_files(bench.plan, tap_identity())
    draw = random.Random(0)  # spreads reconnects only
    return MqttClient(
        client_id=tap_identity(),
        address=(host, int(port)),
        # For each connection: a run may exchange them.
        tls=partial(client_tls, files["ca_file"], files["certificate_file"], files["key_file"]),
        clock=clock,
        chance=draw.random,
        subscriptions=[(topic_filter, 0) for topic_filter in tap.filters],
        on_message=tap.receive,
    )
