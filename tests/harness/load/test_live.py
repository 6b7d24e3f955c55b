"""Locust with two workers, real processes and real sockets: its totals equal the journal's.

That the loader keeps up is left out of what must hold here: other tests compete for the cores.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from contracts.journal import DeviceStarted
from contracts.report import EXIT_OTHER, Report, decode_report
from harness import lwm2m_server
from harness.errors import HarnessError, ScenarioError
from harness.journal import read_run
from harness.load.checks import counted_by_locust, counted_in_journal, observed_in_journal
from harness.load.config import Totals
from harness.load.make_shares import KEYS_FILE
from harness.load.make_shares import main as make_shares_main
from harness.load.options import LoadOptions
from harness.load.run import run_load
from harness.load.target import url_target
from harness.lwm2m_server import ServerConfig
from harness.lwm2m_server.config import Listen, SecureListen
from harness.lwm2m_server.security_store import SecurityStore, decode_row
from runtime.clock import SystemClock
from runtime.files import write_secret
from tests.processes import line_of, running

DEVICES = 40
# A load that has to notice by itself that a process of its own is gone.
KILLED_WITHIN_S = 240.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.bench,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed"),
]


def load(options: LoadOptions) -> tuple[Path, Report]:
    loaded = asyncio.run(run_load(options, Console(file=io.StringIO())))
    return loaded.directory, decode_report((loaded.directory / "report.json").read_bytes())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A load on a bench of its own, by pre-shared keys."""
    return load(
        LoadOptions(
            users=DEVICES,
            spawn_rate_per_s=20,
            workers=2,
            commands_per_s=5,
            run_time="15s",
            headless=True,
            master_port=0,
            out=tmp_path_factory.mktemp("load"),
        )
    )


def test_every_claim_but_the_loaders_own_holds(loaded: tuple[Path, Report]) -> None:
    _, report = loaded
    assert {
        check.name: check.summary
        for check in report.checks
        if check.outcome != "holds" and check.name != "loader_kept_up"
    } == {}
    assert report.devices.online == report.devices.total == DEVICES


def test_locusts_totals_equal_the_journals(loaded: tuple[Path, Report]) -> None:
    journal = read_run(loaded[0])
    expected = counted_in_journal(journal) | observed_in_journal(journal)
    locust = counted_by_locust(journal)
    loader = {line: counted for line, counted in locust.items() if line.startswith("loader ")}
    assert locust == expected | loader
    assert sum(n for line, (n, _) in locust.items() if line.startswith("registered ")) == DEVICES


def test_commands_are_posted_and_counted(loaded: tuple[Path, Report]) -> None:
    directory, report = loaded
    assert report.commands.issued > 0
    assert report.commands.succeeded == report.commands.issued
    counted = counted_by_locust(read_run(directory))
    assert counted["command street_lamp"] == (report.commands.issued, 0)


def test_locusts_csv_says_the_same(loaded: tuple[Path, Report]) -> None:
    directory, _ = loaded
    totals = msgspec.json.decode((directory / "locust.json").read_bytes(), type=Totals)
    with (directory / "locust_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    assert {
        key: int(row["Request Count"]) for key, row in rows.items() if key[1] != "Aggregated"
    } == {(entry.kind, entry.name): entry.count for entry in totals.entries}
    assert "99.99%" in rows["", "Aggregated"]
    assert (directory / "locust.html").stat().st_size > 0


def test_no_device_is_a_user_of_two_workers(loaded: tuple[Path, Report]) -> None:
    started = [record.endpoint for record in read_run(loaded[0]).of(DeviceStarted)]
    assert len(started) == len(set(started)) == DEVICES
    fleets = sorted((loaded[0] / "journal").glob("fleet-*.jsonl"))
    assert [file.name for file in fleets] == ["fleet-worker-1.jsonl", "fleet-worker-2.jsonl"]


def test_nothing_of_the_fleets_is_left(loaded: tuple[Path, Report]) -> None:
    assert not list((loaded[0] / "journal").glob("*.pending"))
    assert {process.side for process in loaded[1].processes} >= {"fleet", "instruments"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_test_takes_everything_down_at_once(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from harness.cli import main; main()", "load"]
    options = ["--users", "2", "--workers", "1", "--security", "none", "--master-port", "0"]
    with running(
        [*command, *options, "--headless", "--out", str(tmp_path)], stderr=subprocess.PIPE
    ) as process:
        assert "starting the bench" in line_of(process)
        process.send_signal(number)
        told, errors = process.communicate(timeout=60)
    assert (process.returncode, told.count("\n"), errors.count("\n")) == (3, 1, 1)
    assert errors.startswith("lamplighter: interrupted")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--master-port", "0", "--web-port"], "Locust's page: "),
        (["--master-host", "127.0.0.1", "--master-port"], "connecting to the master at 127.0.0.1:"),
    ],
    ids=["a page where nobody presses start", "a master that is not there"],
)
def test_ctrl_c_while_a_test_is_waited_for_is_told_in_one_line(
    options: list[str], told: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from harness.cli import main; main()", "load"]
    target = ["--server", "coap://127.0.0.1:9", "--workers", "1", "--out", str(tmp_path)]
    with running(
        [*command, *target, *options, str(free_port())], stderr=subprocess.PIPE
    ) as process:
        assert told in line_of(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (3, 1), errors
    assert errors.startswith("lamplighter: interrupted")


@pytest.mark.parametrize("what", ["devices_file", "trust_anchors_file"])
def test_a_file_that_cannot_be_read_is_named(what: str, tmp_path: Path) -> None:
    devices = tmp_path / "devices.ndjson"
    write_secret(
        devices,
        b'{"endpoint": "a", "serial": "1", "model": "street_lamp", "latitude": 1, "longitude": 1}',
    )
    files = {"devices_file": devices, what: tmp_path / "nowhere"}
    options = LoadOptions(server="coap://127.0.0.1:9", headless=True, master_port=0, **files)
    with pytest.raises(ScenarioError, match=r"cannot read .*nowhere: No such file"):
        url_target(options, tmp_path)


def test_a_load_without_security_brings_its_devices_in(tmp_path: Path) -> None:
    options = LoadOptions(
        users=2,
        workers=1,
        security="none",
        run_time="10s",
        headless=True,
        master_port=0,
        out=tmp_path,
    )
    assert load(options)[1].stages["registered"].count == 2


def test_a_server_that_never_answers_is_named(tmp_path: Path) -> None:
    options = LoadOptions(
        users=2,
        workers=1,
        server="coap://127.0.0.1:9",
        run_time="3s",
        headless=True,
        master_port=0,
        out=tmp_path,
    )
    told = Console(file=io.StringIO(), width=200)
    asyncio.run(run_load(options, told))
    assert isinstance(told.file, io.StringIO)
    assert "coap://127.0.0.1:9 answered no device" in told.file.getvalue()


@pytest.fixture(scope="module")
def loaded_by_url(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A load on a server by URL, with devices files, as on machines of their own."""
    return asyncio.run(_load_by_url(tmp_path_factory.mktemp("load_by_url")))


async def _load_by_url(directory: Path) -> tuple[Path, Report]:
    shares, state = directory / "shares", directory / "state"
    assert make_shares_main(["--devices", "12", "--out", str(shares)]) == 0
    addresses: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    state.mkdir(mode=0o700)
    for name in ("token", "data_token"):
        write_secret(state / name, b"0123456789abcdef0123456789abcdef")
    store = SecurityStore(state / "server", rows_max=100)
    for line in (shares / KEYS_FILE).read_bytes().splitlines():
        store.put(decode_row(line))
    store.flush()
    store.close()
    config = ServerConfig(
        server="server-1",
        state_dir=str(state / "server"),
        token_file=str(state / "token"),
        data_token_file=str(state / "data_token"),
        coap=None,
        coaps=SecureListen(),
        admin=Listen("127.0.0.1", 0),
    )
    serving = asyncio.create_task(lwm2m_server.run(config, SystemClock(), addresses.set_result))
    await asyncio.wait({serving, addresses}, return_when=asyncio.FIRST_COMPLETED)
    options = LoadOptions(
        users=12,
        spawn_rate_per_s=12,
        workers=2,
        run_time="10s",
        headless=True,
        master_port=0,
        server=f"coaps://{addresses.result()['coaps']}",
        devices_file=shares / "devices-1.ndjson",
        out=directory / "reports",
    )
    try:
        loaded = await run_load(options, Console(file=io.StringIO()))
    finally:
        serving.cancel()
        await asyncio.wait({serving})
    return loaded.directory, decode_report((loaded.directory / "report.json").read_bytes())


def test_a_server_by_url_is_loaded_with_keys_of_a_file(
    loaded_by_url: tuple[Path, Report],
) -> None:
    directory, report = loaded_by_url
    assert {
        check.name: check.summary
        for check in report.checks
        if check.outcome != "holds" and check.name != "loader_kept_up"
    } == {}
    assert report.stages["registered"].count == 12
    journal = read_run(directory)
    locust = counted_by_locust(journal)
    assert {line: n for line, n in locust.items() if not line.startswith("loader ")} == (
        counted_in_journal(journal)
    )


def test_a_worker_that_is_killed_is_named_and_voids_the_totals(tmp_path: Path) -> None:
    loaded, told, report = asyncio.run(_kill("locust-worker-1", tmp_path))
    assert "locust-worker-1 ended (code -9)" in told
    assert report is not None
    undecided = {check.name for check in report.checks if check.outcome == "inconclusive"}
    assert {"every_worker_counted", "locust_counts_what_the_journal_says"} <= undecided
    assert "broken" not in {check.outcome for check in report.checks}
    assert loaded == report.exit_code != 0


def test_a_master_that_is_killed_ends_the_load_and_is_named(tmp_path: Path) -> None:
    loaded, told, report = asyncio.run(_kill("locust-master", tmp_path))
    assert (loaded, report) == (EXIT_OTHER, None)
    assert "its master ended (code -9)" in told


async def _kill(name: str, directory: Path) -> tuple[int, str, Report | None]:
    """Exit code, what was told, and the report of a load on nobody, a process of which is killed.

    Nothing is counted but that no device was answered: it is about the processes.
    """
    told = Console(file=io.StringIO(), width=1_000)
    options = LoadOptions(
        users=2,
        workers=2,
        server="coap://127.0.0.1:9",
        run_time="10s",
        headless=True,
        master_port=0,
        out=directory,
    )
    loading = asyncio.create_task(run_load(options, told))
    async with asyncio.timeout(KILLED_WITHIN_S):
        while not is_tested(directory):  # noqa: ASYNC110 # another process writes it
            await asyncio.sleep(0.1)
        os.kill(pid_of(directory, name), signal.SIGKILL)
        try:
            loaded = await loading
        except HarnessError as error:
            return EXIT_OTHER, str(error), None
    assert isinstance(told.file, io.StringIO)
    report = decode_report((loaded.directory / "report.json").read_bytes())
    return loaded.exit_code, told.file.getvalue(), report


def is_tested(directory: Path) -> bool:
    """Both fleets have had a device switched on: the test has begun."""
    fleets = list(directory.glob("*/journal/fleet-worker-?.jsonl"))
    return len(fleets) == 2 and all(b"device_started" in each.read_bytes() for each in fleets)


def pid_of(directory: Path, process: str) -> int:
    [run] = [each for each in directory.iterdir() if not each.is_symlink()]
    for line in (run / "journal" / "runner.jsonl").read_bytes().splitlines():
        record = msgspec.json.decode(line)
        if record.get("process") == process and "pid" in record:
            return int(record["pid"])
    raise AssertionError(f"{process} was not started")


def test_a_port_that_somebody_has_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    asyncio.run(_refuse_ports(tmp_path))
    assert not list(tmp_path.iterdir())


async def _refuse_ports(out: Path) -> None:
    taken = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    try:
        for options, told in (
            (LoadOptions(web_port=port, master_port=0, out=out), "--web-port"),
            (LoadOptions(master_port=port, headless=True, out=out), "--master-port"),
            (LoadOptions(web_host="no-such-host.invalid", master_port=0, out=out), "--web-host"),
        ):
            with pytest.raises(ScenarioError, match="cannot listen at") as refused:
                await run_load(options, Console(file=io.StringIO()))
            assert told in str(refused.value)
    finally:
        taken.close()
