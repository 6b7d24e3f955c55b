"""What runs containers: the compose command for bringing up and down, the engine's API to look.

Everything here blocks: callers on an event loop run it in an executor.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import BenchFailed, ScenarioError

COMPOSE_FILE: Final = Path(__file__).parents[2] / "docker-compose.yml"
_PROJECT_LABEL: Final = "com.docker.compose.project"
_SERVICE_LABEL: Final = "com.docker.compose.service"
_ONE_OFF_LABEL: Final = "com.docker.compose.oneoff"
_LAST_LINES: Final = 5
_ENGINE_ERROR: Final = re.compile(r"^ERROR: |^Error response from daemon|^failed to solve")
_NO_SUCH_LIMIT: Final = "error setting rlimit type 7"
_ASK_WITHIN_S: Final = 20.0


class ContainerState(msgspec.Struct, frozen=True):
    """How one container stands."""

    service: str
    name: str
    status: str
    """created, running, exited…"""
    health: str
    """starting, healthy or unhealthy; empty where nobody asks."""
    exit_code: int

    @property
    def is_well(self) -> bool:
        """Whether it has done what it was for, or does it now."""
        if self.status == "exited":
            return self.exit_code == 0
        return self.status == "running" and self.health in ("", "healthy")

    @property
    def is_done(self) -> bool:
        """Whether it ended as it should."""
        return self.status == "exited" and self.exit_code == 0

    @property
    def is_unhealthy(self) -> bool:
        """Whether it runs, and has said for a while that it is not ready: it may be again."""
        return self.status == "running" and self.health == "unhealthy"

    @property
    def has_failed(self) -> bool:
        """Whether waiting for it is no use."""
        return self.status in ("exited", "dead") and self.exit_code != 0


def connect() -> Any:
    """A client of the engine (`docker.DockerClient`), by DOCKER_HOST or where engines usually are.

    Raises `ScenarioError` with what is missing.
    """
    try:
        docker = importlib.import_module("docker")
    except ImportError:
        raise ScenarioError(
            "--compose needs the package docker: in the checkout, "
            ".venv/bin/python -m pip install -c constraints.txt -e '.[containers]'"
        ) from None
    try:
        client = docker.from_env(timeout=_ASK_WITHIN_S)
        client.ping()
    except docker.errors.DockerException as error:
        where = os.environ.get("DOCKER_HOST", "the usual place")
        raise ScenarioError(
            f"no container engine answers at {where}: start Docker, or set DOCKER_HOST ({error})"
        ) from None
    return client


def compose_command() -> list[str]:
    """`docker compose`, or the older `docker-compose`. Raises `ScenarioError` without either."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise ScenarioError(
        "there is neither `docker compose` nor docker-compose (1.29 or newer): install one"
    )


class Project:
    """One composed installation on this machine, by its project's name."""

    def __init__(self, name: str, variables: Mapping[str, str], client: Any | None = None) -> None:
        self.name = name
        self._variables = dict(variables)
        self.command = compose_command()
        """`docker compose`, or what stands in for it here."""
        self._running: subprocess.Popen[bytes] | None = None
        self._client = connect() if client is None else client

    def compose(self, *arguments: str, log: Path) -> None:
        """Run the compose command; what it says goes to `log`. Raises `BenchFailed`."""
        command = [*self.command, "-f", str(COMPOSE_FILE), "-p", self.name, *arguments]
        with log.open("ab") as said:
            began = said.tell()
            self._running = subprocess.Popen(
                command,
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us: we take down what it leaves.
                start_new_session=True,
            )
            code = self._running.wait()
        if code:
            reason = why_it_failed(log.read_bytes()[began:].decode(errors="replace"))
            what = arguments[0]
            raise BenchFailed(f"compose {what} failed ({code}): {reason} (log: {log})")

    def give_up(self) -> None:
        """Have the compose command that another thread runs end soon; its end is not awaited."""
        if self._running is not None:
            self._running.send_signal(signal.SIGINT)

    def states(self) -> list[ContainerState]:
        """How each container stands, by name."""
        found = (_state(each) for each in self._containers())
        return sorted(found, key=lambda state: state.name)

    def events(self, within_s: float) -> Iterator[Any]:
        """What happens to its containers from now on, as it happens, for so long at most."""
        # By the engine's own clock.
        now = datetime.fromisoformat(self._client.info()["SystemTime"].replace("Z", "+00:00"))
        wanted = {"label": f"{_PROJECT_LABEL}={self.name}", "type": "container"}
        found: Iterator[Any] = self._client.events(
            filters=wanted, until=int(now.timestamp() + within_s), decode=True
        )
        return found

    def published(self) -> dict[str, str]:
        """`host:port` on this machine by `service:port/protocol`."""
        found: dict[str, str] = {}
        for container in self._containers():
            for port, places in (container.ports or {}).items():
                if places:
                    service = container.labels.get(_SERVICE_LABEL, "")
                    found[f"{service}:{port}"] = f"{places[0]['HostIp']}:{places[0]['HostPort']}"
        return found

    def _containers(self) -> list[Any]:
        label = f"{_PROJECT_LABEL}={self.name}"
        found = self._client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        # What somebody runs once beside it, such as the job, is their own to look at.
        return [each for each in found if each.labels.get(_ONE_OFF_LABEL) != "True"]

    def logs(self, name: str) -> str:
        """All that a container has said."""
        return str(self._client.containers.get(name).logs().decode(errors="replace"))

    def last_words(self, name: str) -> str:
        """The last lines of a container's log, in one."""
        lines = [line for line in self.logs(name).splitlines() if line.strip()]
        return " / ".join(lines[-_LAST_LINES:]) or "it said nothing"

    def set_up_link(self) -> str | None:
        """The first start's link, as identity says it; None where nobody needs it any more."""
        for state in self.states():
            if state.service == "identity":
                return set_up_link(self.logs(state.name).splitlines())
        return None


def set_up_link(lines: Sequence[str]) -> str | None:
    """The last link of a first start in a log; None: there was none."""
    link = None
    for line in lines:
        if line.startswith('{"set_up":'):
            link = msgspec.json.decode(line.encode(), type=dict[str, str])["set_up"]
    return link


def _state(container: Any) -> ContainerState:
    state = container.attrs["State"]
    return ContainerState(
        service=container.labels.get(_SERVICE_LABEL, ""),
        name=container.name,
        status=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        exit_code=state["ExitCode"],
    )


def why_it_failed(said: str) -> str:
    """What compose or the engine gave as the reason, with what to do where that is known."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Older ones end with words that say nothing; the engine's error is above them.
    errors = [line for line in lines if _ENGINE_ERROR.search(line)]
    reason = next(iter([*errors, *reversed(lines)]), "it said nothing")
    if _NO_SUCH_LIMIT in reason:
        reason += (
            ": the engine may not give a container that many open files; set OPEN_FILES to what it"
            " may (`ulimit -Hn`)"
        )
    return reason
