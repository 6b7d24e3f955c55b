"""`docker-compose.yml` is whole, and its commands are ones that the command line takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main
import yaml

from harness.cli import app
from harness.load.make_shares import KEYS_FILE
from harness.load.options import LoadOptions
from harness.mqtt_broker.config import BrokerConfig

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def words(service: str) -> list[str]:
    """A service's command, with the defaults of its variables."""
    command = SERVICES[service]["command"]
    text = " ".join(command) if isinstance(command, list) else command
    return shlex.split(_VARIABLE.sub(r"\1", text)) if isinstance(command, str) else command


def chosen(service: str) -> dict[str, Any]:
    """What `lamplighter`'s own parser makes of a service's command."""
    program, command, *arguments = words(service)
    assert program == "lamplighter"
    found = typer.main.get_command(app)
    found = found.commands[command]  # type: ignore[attr-defined]  # it is a group
    return found.make_context(command, arguments).params


@pytest.mark.parametrize("service", ["master", "server", "worker"])
def test_commands_are_ones_that_the_command_line_takes(service: str) -> None:
    assert chosen(service)


@pytest.mark.parametrize("service", ["master", "worker"])
def test_loads_can_be_run(service: str) -> None:
    options = chosen(service)
    LoadOptions(
        users=options["users"],
        workers=options["workers"],
        expect_workers=options["expect_workers"],
        master_host=options["master_host"],
        master_bind_host=options["master_bind_host"],
        server=options["server"],
        devices_file=options["devices"],
        uplink=options["uplink"],
    )


def test_master_and_workers_mean_the_same_server_and_number() -> None:
    master, worker = chosen("master"), chosen("worker")
    assert master["server"] == worker["server"] == "coaps://server:5684"
    assert chosen("server")["coaps_port"] == 5684
    assert worker["master_host"] in SERVICES
    assert master["master_port"] == worker["master_port"]
    assert master["expect_workers"] == SERVICES["worker"]["deploy"]["replicas"]


def test_the_shares_are_where_they_are_looked_for() -> None:
    out = words("shares")[words("shares").index("--out") + 1]
    assert str(chosen("server")["keys"]) == f"{out}/{KEYS_FILE}"
    assert str(chosen("worker")["devices"]) == f"{out}/devices-1.ndjson"


def test_only_the_page_is_published_and_on_this_machine_alone() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert published == {"master": ["127.0.0.1:8089:8089"]}


def test_the_broker_is_configured_as_its_process_wants_it() -> None:
    content = tomllib.loads(COMPOSE["configs"]["broker"]["content"])
    assert msgspec.convert(content, BrokerConfig).port == 8883


def test_what_services_refer_to_is_there() -> None:
    volumes = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert {name for name in volumes if not name.startswith(".")} == set(COMPOSE["volumes"])
    waits = {name for s in SERVICES.values() for name in s.get("depends_on", {})}
    assert waits <= set(SERVICES)


def test_it_builds_with_the_extra_that_brings_locust() -> None:
    dockerfile = SERVICES["master"]["build"]["dockerfile_inline"]
    assert '".[load]"' in dockerfile
    assert "-c constraints.txt" in dockerfile
    assert find_spec("locust") is None or "locust==" in (ROOT / "constraints.txt").read_text()
