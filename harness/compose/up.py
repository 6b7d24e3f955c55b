"""`lamplighter up --compose`: the whole installation in containers, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec
from rich.console import Console

from harness.compose.engine import ContainerState, Project
from harness.compose.installation import Graph
from harness.errors import BenchFailed, ScenarioError
from harness.runner.keep_up import UpOptions

PROJECT: Final = "lamplighter-up"
READY_WITHIN_S: Final = 600.0
LOOKED_EVERY_S: Final = 1.0
WATCHED_EVERY_S: Final = 5.0
# Everything that `docker compose up` starts; `graph` only where the device graph is there.
_GRAPH_SERVICE: Final = "graph"
SERVICES: Final = (
    *("setup", "identity", "provisioning", "broker", "audit", "control", "ingestion", "bootstrap"),
    *("dashboard", "server-1", "server-2", "bridge-1", "bridge-2", "city", "master", "worker"),
)
_Answer = TypeVar("_Answer")


class ComposeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose."""

    devices: int = 200
    graph: Graph = "neo4j"
    project: str = PROJECT
    out: Path = Path("reports")
    keep_volumes: bool = False
    """Whether data and keys outlive Ctrl-C."""

    def variables(self) -> dict[str, str]:
        """Of `docker-compose.yml`."""
        return {"DEVICES": str(self.devices), "GRAPH": self.graph, "TAPS": "true"}

    def services(self) -> tuple[str, ...]:
        """Those that are brought up."""
        return SERVICES if self.graph == "embedded" else (*SERVICES, _GRAPH_SERVICE)


async def up_composed(options: UpOptions, console: Console) -> None:
    """What `lamplighter up --compose` does. Raises `ScenarioError` for options that it has not."""
    await up_in_containers(composed(options, os.environ), console)


def composed(options: UpOptions, environment: Mapping[str, str]) -> ComposeOptions:
    """The choices of `lamplighter up`; the others are variables of `docker-compose.yml`.

    Raises `ScenarioError`.
    """
    others = msgspec.structs.replace(options, devices=None, out=UpOptions().out, ports={})
    if others != UpOptions() or any(options.ports.values()):
        raise ScenarioError(
            "--compose goes with --devices and --out alone: the rest is in docker-compose.yml"
        )
    graph = environment.get("GRAPH") or "neo4j"
    if graph not in get_args(Graph):
        raise ScenarioError(f"GRAPH={graph}: choose {' or '.join(get_args(Graph))}")
    devices = 200 if options.devices is None else options.devices
    chosen: Graph = "embedded" if graph == "embedded" else "neo4j"
    return ComposeOptions(devices=devices, graph=chosen, out=options.out)


async def up_in_containers(options: ComposeOptions, console: Console) -> None:
    """Bring everything up, say how to use it, and wait for Ctrl-C; then take it down.

    Raises `ScenarioError` when there is no engine, `BenchFailed` when a container fails.
    """
    folder = options.out / "compose"
    log = folder / "compose.log"
    project = await _off_loop(lambda: _opened(options, folder))
    try:
        await _bring_up(project, options, log, console)
        console.out(await _off_loop(lambda: how_to_use(project, options)), highlight=False)
        await _watch(project, console)
    except asyncio.CancelledError:
        console.print("Taking the containers down …")
    finally:
        await _take_down(project, options, log)
    console.print("The installation is down.")


def _opened(options: ComposeOptions, folder: Path) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compose.log").unlink(missing_ok=True)
    return Project(options.project, options.variables())


async def _bring_up(project: Project, options: ComposeOptions, log: Path, console: Console) -> None:
    console.print(f"Building the image and starting containers … (log: {log})", highlight=False)
    await _compose(project, log, "build", "setup")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            # It ends once those that others wait for are well; one that fails ends it, too.
            await _compose(project, log, "up", "--detach", *options.services())
            await _until_well(project, console)
    except TimeoutError:
        waiting = unwell(await _off_loop(project.states))
        names = ", ".join(state.service for state in waiting) or "compose itself"
        raise BenchFailed(f"not well within {READY_WITHIN_S:g} s: {names} (log: {log})") from None


async def _compose(project: Project, log: Path, *arguments: str) -> None:
    """Run the compose command. Cancelled, it is told to give up, and its end is awaited: nothing
    is taken down while it still brings something up."""
    running = asyncio.ensure_future(_off_loop(lambda: project.compose(*arguments, log=log)))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        project.give_up()
        with contextlib.suppress(BenchFailed):
            await to_its_end(running)
        raise


async def to_its_end(work: asyncio.Future[_Answer]) -> _Answer:
    """Await what must not be left half done, however often whoever awaits it is cancelled."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(work)
    return work.result()


def unwell(states: Sequence[ContainerState]) -> list[ContainerState]:
    """Those that are to be waited for."""
    return [state for state in states if not state.is_well]


async def _look(
    project: Project, console: Console, unhealthy: set[str]
) -> Sequence[ContainerState]:
    """How each container stands. Says who has become unhealthy, kept in `unhealthy`, or well again.

    Raises `BenchFailed` for one that has ended and should not have.
    """
    states = await _off_loop(project.states)
    for state in states:
        if state.has_failed:
            words = await _last_words(project, state)
            raise BenchFailed(f"the container {state.name} ended with {state.exit_code}: {words}")
        if state.is_unhealthy and state.name not in unhealthy:
            unhealthy.add(state.name)
            words = await _last_words(project, state)
            console.out(f"{state.name} is not ready: {words}", highlight=False)
        elif state.is_well and state.name in unhealthy:
            unhealthy.remove(state.name)
            console.out(f"{state.name} is ready again", highlight=False)
    return states


async def _until_well(project: Project, console: Console) -> None:
    unhealthy: set[str] = set()
    while True:
        if not unwell(await _look(project, console, unhealthy)):
            return
        await asyncio.sleep(LOOKED_EVERY_S)


async def _last_words(project: Project, state: ContainerState) -> str:
    return await _off_loop(lambda: project.last_words(state.name))


async def _watch(project: Project, console: Console) -> None:
    """Until cancelled. Raises `BenchFailed` for a container that has ended."""
    unhealthy: set[str] = set()
    while True:
        await asyncio.sleep(WATCHED_EVERY_S)
        await _look(project, console, unhealthy)


async def _take_down(project: Project, options: ComposeOptions, log: Path) -> None:
    how = ["down", "--remove-orphans", "--timeout", "15"]
    if not options.keep_volumes:
        how.append("--volumes")
    await to_its_end(asyncio.ensure_future(_off_loop(lambda: project.compose(*how, log=log))))


def how_to_use(project: Project, options: ComposeOptions) -> str:
    """Where everything is, and what to do with it."""
    link = project.set_up_link()
    first = (
        [f"  first start      {link}", "                   (good once, for 15 minutes)"]
        if link
        else []
    )
    compose = f"{shlex.join(project.command)} -p {options.project}"
    return "\n".join(
        [
            "The installation is up. Ctrl-C ends it"
            + ("." if options.keep_volumes else ", and removes its data and keys."),
            "",
            *first,
            *(f"  {what:<16} {where}" for what, where in places(project.published())),
            "",
            f"{options.devices} devices are provisioned. Locust's page switches them on; the main",
            "job, with its verdict, is held against the installation by",
            "",
            # What it depends on is up: it is not to be made anew with other variables.
            f"  {compose} run --rm --no-deps job",
            "",
            f"Logs: {compose} logs SERVICE.",
            "What is where, and who may what: docs/operations/containers.md.",
        ]
    )


def places(published: dict[str, str]) -> list[tuple[str, str]]:
    """What this machine is shown, by the address of each container's port."""
    named = (
        ("dashboard", "dashboard", "8443/tcp", "https://{}"),
        ("Locust", "master", "8089/tcp", "http://{}"),
        ("MQTT (TLS)", "broker", "8883/tcp", "mqtts://{}"),
        ("LwM2M, server-1", "server-1", "5684/udp", "coaps://{}"),
        ("LwM2M, server-2", "server-2", "5684/udp", "coaps://{}"),
        ("provisioning", "provisioning", "8082/tcp", "http://{}"),
        ("control", "control", "8083/tcp", "http://{}"),
        ("ingestion", "ingestion", "8084/tcp", "http://{}"),
        ("identity", "identity", "8080/tcp", "http://{}"),
        ("audit", "audit", "8081/tcp", "http://{}"),
    )
    return [
        (what, form.format(published[f"{service}:{port}"]))
        for what, service, port, form in named
        if f"{service}:{port}" in published
    ]


async def _off_loop(work: Callable[[], _Answer]) -> _Answer:
    loop: Any = asyncio.get_running_loop()
    answer: _Answer = await loop.run_in_executor(None, work)
    return answer
