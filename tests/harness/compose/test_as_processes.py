"""The containers' own commands, as plain processes: their configurations, secrets and certificates
are those that `setup` and `hand-out` made, and the main job holds against them.

Only paths, hosts and ports are other ones than in containers: here all share one machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import yaml

from harness.compose.installation import FOLDERS, STATE_FOLDER, Choices, configurations
from harness.compose.setup import set_up
from harness.mqtt_broker.mosquitto import find_mosquitto
from tests.processes import WITHIN_S, line_of

ROOT = Path(__file__).parents[3]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.mosquitto, pytest.mark.timeout(600)]


class Installation:
    """All containers' processes in folders of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ports: dict[tuple[str, str], int] = {}
        self._stack = contextlib.ExitStack()
        for folder in (*FOLDERS, STATE_FOLDER):
            (root / "all" / folder).mkdir(parents=True)
        for folder in ("directory", "devices", "journals", "reports", "objects"):
            (root / folder).mkdir()
        choices = Choices(devices=20, graph="embedded", taps=True)
        set_up(root / "all", choices, os.urandom, 1_780_000_000_000_000)
        for folder in configurations(choices):
            self._localise(root / "all" / folder / "config.json", folder)
        for name in ("mosquitto.conf", "start.sh"):
            self._localise(root / "all" / "broker" / name, "broker")
        if os.geteuid() == 0:
            # In its container it is not; as root it would become somebody who may read nothing.
            with (root / "all" / "broker" / "mosquitto.conf").open("a") as settings:
                settings.write("user root\n")
        link = root / "all" / STATE_FOLDER / "devices.sqlite"
        link.unlink()
        link.symlink_to(root / "directory" / "devices.sqlite")

    def _localise(self, file: Path, container: str) -> None:
        text = file.read_text()
        # Whose port it is: the host before it, or the container itself.
        text = re.sub(
            r"(identity|audit|provisioning|control|ingestion|bootstrap|broker|server-[12]):(\d{4})",
            lambda found: f"127.0.0.1:{self._port(found[1], found[2])}",
            text,
        )
        text = re.sub(
            r'("port":|_port":|0\.0\.0\.0:|127\.0\.0\.1:|listener )(8[04]\d\d|8883|5684)\b',
            lambda found: f"{found[1]}{self._port(container, found[2])}",
            text,
        )
        text = text.replace("0.0.0.0", "127.0.0.1").replace(
            "/private", str(self.private(container))
        )
        text = text.replace('"/state', f'"{self.state(container)}')
        text = text.replace(" /state/", f" {self.state(container)}/")
        for shared in ("directory", "devices", "journals"):
            text = text.replace(f'"/{shared}', f'"{self.root}/{shared}')
        text = text.replace('"/objects', f'"{self.state("provisioning")}/objects')
        ours = ["python", "-m", "harness.compose", "hand-out"]
        mine = [sys.executable, *ours[1:], "--into", str(self.root / "all")]
        mine += ["--state", str(self.state("provisioning"))]
        text = text.replace(msgspec.json.encode(ours).decode(), msgspec.json.encode(mine).decode())
        file.write_text(text)

    def _port(self, container: str, port: str) -> int:
        known = self._ports.get((container, port))
        if known is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                known = self._ports[container, port] = probe.getsockname()[1]
        return known

    def private(self, container: str) -> Path:
        return self.root / "all" / container

    def state(self, container: str) -> Path:
        if container == "provisioning":
            return self.root / "all" / STATE_FOLDER
        found = self.root / "state" / container
        found.mkdir(parents=True, exist_ok=True)
        return found

    def command(self, container: str) -> list[str]:
        found = [
            *SERVICES[container].get("entrypoint", []),
            *SERVICES[container].get("command", []),
        ]
        local = {"python": sys.executable}
        words = [local.get(word, word) for word in found]
        return [word.replace("/private", str(self.private(container))) for word in words]

    def log(self, container: str) -> Path:
        return self.root / f"{container}.log"

    def start(self, container: str, *, waits: bool = True) -> None:
        """Start a container's command; with `waits`, until it says that it is ready."""
        log = self._stack.enter_context(self.log(container).open("ab"))
        path = f"{Path(find_mosquitto() or '/').parent}:{os.environ['PATH']}"
        process = subprocess.Popen(
            self.command(container),
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self._stack.callback(_end, process)
        try:
            while waits and '"ready"' not in line_of(process):
                pass
        except AssertionError as error:
            told = self.log(container).read_text()[-2_000:]
            raise AssertionError(f"{container}: {error}: {told}") from None

    def run(self, container: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run one that ends."""
        return subprocess.run(
            [*self.command(container), *more],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * WITHIN_S,
        )

    def close(self) -> None:
        self._stack.close()


def _end(process: subprocess.Popen[str]) -> None:
    children = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    process.terminate()
    try:
        process.wait(WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(WITHIN_S)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    if find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    found = Installation(tmp_path_factory.mktemp("installation"))
    try:
        found.start("identity")
        found.start("provisioning")
        wait_for(found.state("provisioning") / "handed_out")
        found.start("broker", waits=False)
        for container in ("server-1", "server-2", "audit", "bootstrap", "control", "ingestion"):
            found.start(container)
        for container in ("bridge-1", "bridge-2", "dashboard"):
            found.start(container)
        yield found
    finally:
        found.close()


def wait_for(file: Path) -> None:
    """Until a process that was started has made `file`: it is told of that by nothing else."""
    script = 'while [ ! -e "$0" ]; do sleep 0.05; done'
    subprocess.run(["sh", "-c", script, str(file)], timeout=2 * WITHIN_S, check=True)


def test_the_main_job_holds(installation: Installation) -> None:
    city = installation.run("city")
    assert city.returncode == 0, city.stderr
    again = installation.run("city")
    assert "the city stays as it is" in again.stderr

    out = installation.root / "reports"
    job = installation.run("job", "--devices", "12", "--out", str(out))
    report = msgspec.json.decode((out / "latest" / "report.json").read_bytes())
    # A machine with much else to do saturates the loader, which voids rates and nothing else.
    undecided = {"loader_kept_up"} if job.returncode == 3 else set()
    outcomes = {check["name"]: check["outcome"] for check in report["checks"]}
    assert {name for name, outcome in outcomes.items() if outcome != "holds"} <= undecided, (
        job.stdout[-3_000:] + job.stderr
    )


def test_no_log_has_a_secret(installation: Installation) -> None:
    secrets = [path.read_text() for path in (installation.root / "all").glob("*/*.token")]
    logs = {path.name: path.read_text(errors="replace") for path in installation.root.glob("*.log")}
    assert len(logs) >= 12
    for name, text in logs.items():
        assert not [secret for secret in secrets if secret.rpartition(":")[2] in text], name


def test_mosquitto_reads_its_list_again_and_refuses_who_is_on_it(
    installation: Installation,
) -> None:
    log = installation.log("broker")
    before = log.read_text(errors="replace").count("Mosquitto reads them again")
    crl = installation.private("broker") / "certificates" / "crl.pem"
    crl.write_bytes(crl.read_bytes() + b"\n")
    told = f'until [ "$(grep -c "reads them again" "$0")" -gt {before} ]; do sleep 0.1; done'
    subprocess.run(["sh", "-c", told, str(log)], timeout=2 * WITHIN_S, check=True)
