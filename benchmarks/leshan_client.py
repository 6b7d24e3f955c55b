"""What a device weighs that is Eclipse Leshan's client, as its demo client makes one: a JVM each.

    python -m benchmarks.leshan_client [--clients N]

N clients (objects 0, 1, 3 and 3303) register with our LwM2M server emulator over plain CoAP. Told
are the resident and the proportional bytes of a process, after all are registered; the second
shares out what processes have in common. Prints one JSON line; `skipped` says what is missing where
there is no Java or Maven. `benchmarks.fleet_memory` has the same of our simulated devices.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import psutil

from benchmarks.child_process import killed, lines_of
from benchmarks.registrations import emulator_up
from benchmarks.rig import Fields, plain_conditions

# What the collector has not touched yet is not a device's weight.
SETTLE_S = 3.0
# A JVM's start, on a machine that does something else too.
REGISTERED_WITHIN_S = 120.0


def measure(clients: int) -> Fields:
    """The figures, or what is missing."""
    from tests.interop.fetch_leshan import VERSION, fetch
    from tests.interop.leshan_peer import object_models
    from tests.maven import PeerMissing

    line: Fields = {"benchmark": "leshan_client", "clients": clients}
    try:
        class_path = fetch()
    except PeerMissing as error:
        return line | {"skipped": str(error), "conditions": plain_conditions()}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, _ = stack.enter_context(emulator_up(directory, {}))
        uri = f"coap://127.0.0.1:{server.coap[1]}"
        processes = [
            stack.enter_context(client_up(class_path, _config(number, uri, object_models())))
            for number in range(clients)
        ]
        time.sleep(SETTLE_S)
        memory = [psutil.Process(each.pid).memory_full_info() for each in processes]
    return line | {
        "leshan": VERSION,
        "rss_bytes_per_device": round(mean(each.rss for each in memory)),
        "pss_bytes_per_device": round(mean(each.pss for each in memory)),
        "conditions": plain_conditions(),
    }


def _config(number: int, uri: str, models: Any) -> Mapping[str, Any]:
    return {
        "role": "client",
        "endpoint": f"leshan-{number}",
        "uri": uri,
        "mode": "none",
        "short_server_id": 101,
        "lifetime_s": 86_400,
        "models": models,
    }


@contextlib.contextmanager
def client_up(
    class_path: list[str], config: Mapping[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    """One client's process, registered, with the JVM's own defaults."""
    process = subprocess.Popen(
        ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", ":".join(class_path),
         "Peer"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(config) + b"\n")
        process.stdin.flush()
        _until_registered(process)
        yield process
    finally:
        killed(process)


def _until_registered(process: subprocess.Popen[bytes]) -> None:
    """Read what it says until it says so. Raises `EOFError` or `TimeoutError`."""
    for line in lines_of(process, REGISTERED_WITHIN_S, "Leshan's client, to be registered,"):
        if line.startswith(b"{") and json.loads(line).get("event") == "registered":
            return


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=5)
    sys.stdout.write(json.dumps(measure(parser.parse_args().clients)) + "\n")


if __name__ == "__main__":
    main()
