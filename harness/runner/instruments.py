"""The instruments of a run: taps of broker, store and processes, running while its story does."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from harness.bench import configs
from harness.bench.bench import Bench, tap_identity
from harness.runner.live import Live
from harness.taps import BrokerTap, ProcessTap, StoreTap
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import Clock
from runtime.journal import JournalSink

TAP_CONNECTS_WITHIN_S = 5.0


@contextlib.asynccontextmanager
async def taps_on(
    bench: Bench, journal: JournalSink, clock: Clock, live: Live, *, broker: bool
) -> AsyncIterator[None]:
    """The instruments, running while the block runs."""
    store = StoreTap(bench.http("ingestion"), journal, clock, live.feed_seen)
    processes = ProcessTap(lambda: bench.processes.values(), journal, clock)
    tasks = [asyncio.create_task(store.run()), asyncio.create_task(processes.run())]
    try:
        if broker:
            tap = BrokerTap(bench.plan.topics, journal, clock, live.message_seen)
            client = _broker_tap_client(bench, tap, clock)
            tasks.append(asyncio.create_task(client.run()))
            async with asyncio.timeout(TAP_CONNECTS_WITHIN_S):
                await client.connected.wait()
        yield
    finally:
        processes.sample()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _broker_tap_client(bench: Bench, tap: BrokerTap, clock: Clock) -> MqttClient:
    host, _, port = bench.address("broker", "mqtt").rpartition(":")
    files = configs.client_files(bench.plan, tap_identity())
    draw = random.Random(0)  # spreads reconnects only
    return MqttClient(
        client_id=tap_identity(),
        address=(host, int(port)),
        tls=client_tls(files["ca_file"], files["certificate_file"], files["key_file"]),
        clock=clock,
        chance=draw.random,
        subscriptions=[(topic_filter, 0) for topic_filter in tap.filters],
        on_message=tap.receive,
    )
