"""What `lamplighter up --compose` makes of options, of the engine's answers and of logs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.api import Commit, FeedGap
from contracts.journal import Note
from contracts.manifest import ManifestRow
from fake_devices.fleet.config import read_devices
from harness.bench.device_security import DeviceKey
from harness.compose.city import ServerPlace, device_lines, keys_for, known_keys
from harness.compose.engine import ContainerState, set_up_link, why_it_failed
from harness.compose.job import JournalSince, LiveSince
from harness.compose.up import ComposeOptions, composed, places, to_its_end, unwell
from harness.errors import BenchFailed, ScenarioError
from harness.runner.cohort import choose
from harness.runner.keep_up import UpOptions
from runtime.files import write_secret

SERVERS = tuple(
    ServerPlace(uri=f"coaps://server-{nth}:5684", admin=f"server-{nth}:8087", token_file="token")
    for nth in (1, 2)
)


def state(status: str, health: str = "", exit_code: int = 0) -> ContainerState:
    return ContainerState(
        service="control", name="c", status=status, health=health, exit_code=exit_code
    )


def rows(count: int) -> list[ManifestRow]:
    return list(choose(None, count, 1).rows)


def draw(size: int) -> bytes:
    return bytes(range(size))


def test_the_number_of_devices_and_the_graph_are_passed_on() -> None:
    chosen = composed(UpOptions(devices=50, out=Path("x")), {"GRAPH": "embedded"})
    assert chosen == ComposeOptions(devices=50, graph="embedded", out=Path("x"))
    assert chosen.variables() == {"DEVICES": "50", "GRAPH": "embedded", "TAPS": "true"}
    assert "graph" not in chosen.services()
    assert "graph" in composed(UpOptions(), {}).services()


@pytest.mark.parametrize(
    "options", [UpOptions(servers=3), UpOptions(ports={"coap": 5683}), UpOptions(state=Path("x"))]
)
def test_options_that_it_has_not_are_refused(options: UpOptions) -> None:
    with pytest.raises(ScenarioError, match="--devices and --out alone"):
        composed(options, {})


def test_a_graph_that_there_is_not_is_refused() -> None:
    with pytest.raises(ScenarioError, match="choose neo4j or embedded"):
        composed(UpOptions(), {"GRAPH": "postgres"})


@pytest.mark.parametrize(
    ("found", "well", "failed"),
    [
        (state("created"), False, False),
        (state("running", "starting"), False, False),
        (state("running", "healthy"), True, False),
        (state("running"), True, False),
        (state("running", "unhealthy"), False, False),
        (state("exited"), True, False),
        (state("exited", exit_code=3), False, True),
        (state("restarting", exit_code=1), False, False),
    ],
)
def test_states_of_containers_are_told_apart(
    found: ContainerState, well: bool, failed: bool
) -> None:
    assert (found.is_well, found.has_failed) == (well, failed)
    assert unwell([found]) == ([] if well else [found])


def test_what_takes_everything_down_is_not_left_by_a_second_ctrl_c() -> None:
    async def story() -> str:
        down: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(to_its_end(down))
        for _ in range(3):
            await asyncio.sleep(0)
            waiting.cancel()
        down.set_result("down")
        return await waiting

    assert asyncio.run(story()) == "down"


def test_the_last_link_of_a_first_start_is_found_in_a_log() -> None:
    log = [
        '{"set_up":"https://127.0.0.1:8443/set-up#token=one"}',
        '{"ready":{"http":"0.0.0.0:8080"}}',
        '{"set_up":"https://127.0.0.1:8443/set-up#token=two"}',
    ]
    assert set_up_link(log) == "https://127.0.0.1:8443/set-up#token=two"
    assert set_up_link(log[1:2]) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "it said nothing"),
        ("Creating a_1 ...\nno such service: x\n", "no such service: x"),
        (
            "Creating a_1 ... error\n\nERROR: for a_1  Cannot start service a: no space left\n"
            "Encountered errors while bringing up the project.\n",
            "ERROR: for a_1  Cannot start service a: no space left",
        ),
        (
            " Container a-1  Starting\nError response from daemon: port is already allocated\n",
            "Error response from daemon: port is already allocated",
        ),
    ],
)
def test_the_engines_own_reason_is_told_where_compose_fails(said: str, reason: str) -> None:
    assert why_it_failed(said) == reason


def test_whose_engine_gives_no_such_limit_is_told_what_to_set() -> None:
    said = "Error response from daemon: error setting rlimit type 7: operation not permitted"
    assert "set OPEN_FILES to what it may (`ulimit -Hn`)" in why_it_failed(said)


def test_places_are_those_that_are_published() -> None:
    told = places({"dashboard:8443/tcp": "127.0.0.1:9443", "server-2:5684/udp": "127.0.0.1:5685"})
    assert told == [
        ("dashboard", "https://127.0.0.1:9443"),
        ("LwM2M, server-2", "coaps://127.0.0.1:5685"),
    ]


def test_devices_keep_the_keys_that_they_have(tmp_path: Path) -> None:
    cohort = rows(5)
    first = keys_for(cohort[:2], {}, draw)
    file = tmp_path / "devices.ndjson"
    write_secret(file, device_lines(cohort[:2], first, SERVERS))
    keys = keys_for(cohort, known_keys(file), lambda size: b"\xff" * size)
    assert {name: keys[name] for name in first} == first
    assert {key.key for name, key in keys.items() if name not in first} == {b"\xff" * 16}


def test_a_devices_file_spreads_devices_over_both_servers_and_can_be_read(tmp_path: Path) -> None:
    cohort = rows(40)
    file = tmp_path / "devices.ndjson"
    write_secret(file, device_lines(cohort, keys_for(cohort, {}, draw), SERVERS))
    lines = read_devices(file)
    assert [line.endpoint for line in lines] == [row.endpoint for row in cohort]
    assert {line.server for line in lines} == {server.uri for server in SERVERS}


def test_a_devices_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    cohort = rows(1)
    file = tmp_path / "devices.ndjson"
    file.write_bytes(device_lines(cohort, keys_for(cohort, {}, draw), SERVERS))
    file.chmod(0o644)
    with pytest.raises(BenchFailed, match="mode must be 0600"):
        known_keys(file)


def test_without_a_devices_file_no_key_is_known(tmp_path: Path) -> None:
    assert known_keys(tmp_path / "devices.ndjson") == {}


def commit(at_ns: int, endpoint: str) -> Commit:
    return Commit(
        cursor=at_ns, at_ns=at_ns, at_us=1, readings=[(endpoint, "/3303/0/5700", 1, 20.5)]
    )


def test_a_job_sees_only_what_was_stored_since_it_began() -> None:
    live = LiveSince(began_ns=100)
    live.feed_seen(commit(99, "earlier"))
    live.feed_seen(commit(100, "lamp-1"))
    live.feed_seen(FeedGap(cursor=101, missed=3))
    assert live.online == {"lamp-1"}
    assert live.stored == 2, "ingestion counts all that it has stored"


def test_a_job_journals_only_what_was_stored_since_it_began() -> None:
    class Kept:
        def __init__(self) -> None:
            self.records: list[object] = []

        def record(self, record: object) -> None:
            self.records.append(record)

    kept = Kept()
    journal = JournalSince(kept, 100)  # type: ignore[arg-type]  # it keeps whatever it is given
    notes = [Note(at_ns=at_ns, name="x") for at_ns in (99, 100)]
    for note in notes:
        journal.record(note)
    assert kept.records == notes[1:]


def test_keys_are_never_shown() -> None:
    key = DeviceKey(endpoint="lamp-1", identity="lamp-1", key=b"0123456789abcdef")
    assert "0123456789abcdef" not in repr(keys_for(rows(1), {"lamp-1": key}, draw))
