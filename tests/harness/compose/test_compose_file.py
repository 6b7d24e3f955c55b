"""`docker-compose.yml` keeps its rules, whatever is added to it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from city_platform.__main__ import COMPONENTS
from harness.cli import app
from harness.compose.installation import (
    ADMIN_PORT,
    BRIDGE_PORT,
    COAPS_PORT,
    DEVICES_FILE,
    FOLDERS,
    PORTS,
    SERVERS,
    STATE_FOLDER,
)
from harness.compose.setup import VARIABLES
from harness.compose.up import SERVICES as BROUGHT_UP
from harness.load.options import LoadOptions

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"setup", "city", "job"}
OURS = {name for name, service in SERVICES.items() if "lamplighter" in service["image"]}
_VARIABLE = re.compile(r"(?<!\$)\$\{\w+:-([^}]*)\}")


def with_defaults(text: str) -> str:
    """A value of the file when no variable is set."""
    return _VARIABLE.sub(r"\1", text)


def command(service: str) -> list[str]:
    return [with_defaults(word) for word in SERVICES[service]["command"]]


def mounts(service: str) -> dict[str, str]:
    """Volume by where it is mounted."""
    return {each.split(":")[1]: each.split(":")[0] for each in SERVICES[service].get("volumes", [])}


def test_everything_of_the_platform_is_there() -> None:
    bridges = {f"bridge-{nth}" for nth in range(1, len(SERVERS) + 1)}
    assert set(COMPONENTS) - {"bridge"} | bridges | set(SERVERS) <= set(SERVICES)
    assert {"broker", "graph", "setup", "city", "job", "master", "worker"} <= set(SERVICES)
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert set(BROUGHT_UP) | {"graph", "job"} == set(SERVICES)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_nothing_can_be_written_but_volumes_and_memory(service: str) -> None:
    found = SERVICES[service]
    assert found["read_only"] is True
    assert all("size=" in each for each in found["tmpfs"]), "what is in memory has a bound"


def test_nothing_is_run_from_memory_but_the_library_that_neo4j_unpacks() -> None:
    options = {
        f"{name}:{each.split(':')[0]}": each.split(":")[1].split(",")
        for name, found in SERVICES.items()
        for each in found["tmpfs"]
    }
    assert {where for where, given in options.items() if "exec" in given} == {"graph:/tmp"}


def test_everything_that_neo4j_writes_to_is_its_own() -> None:
    # Where its entry point and its server write, by what the image says and by its settings.
    memory = {each.split(":")[0] for each in SERVICES["graph"]["tmpfs"]}
    run = SERVICES["graph"]["environment"]["NEO4J_server_directories_run"]
    assert {"/var/lib/neo4j/conf", "/logs", "/tmp", run} == memory
    assert mounts("graph")["/data"] == "graph"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_nobody_is_root_or_can_become_it(service: str) -> None:
    found = SERVICES[service]
    user, group = found["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert found["cap_drop"] == ["ALL"]
    assert "cap_add" not in found
    assert "privileged" not in found
    assert "no-new-privileges:true" in found["security_opt"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_memory_processors_processes_and_logs_have_limits(service: str) -> None:
    found = SERVICES[service]
    assert re.fullmatch(r"\d+[mg]", found["mem_limit"])
    assert 0 < found["cpus"] <= 2
    assert 0 < found["pids_limit"] <= 1_000
    assert {"max-size", "max-file"} <= set(found["logging"]["options"])


@pytest.mark.parametrize("service", sorted(set(SERVICES) - ONCE))
def test_what_stays_up_has_a_health_check_and_comes_back(service: str) -> None:
    found = SERVICES[service]
    assert found["restart"] == "unless-stopped"
    check = found["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("service", sorted(ONCE))
def test_what_ends_is_not_started_again(service: str) -> None:
    assert "restart" not in SERVICES[service]
    assert "healthcheck" not in SERVICES[service]


def test_images_are_named_with_a_version_and_ours_is_one() -> None:
    for service in SERVICES.values():
        name, _, tag = with_defaults(service["image"]).rpartition(":")
        assert name
        assert tag != "latest"
    assert len({SERVICES[name]["image"] for name in OURS}) == 1
    assert set(SERVICES) - OURS == {"broker", "graph"}


def test_ports_are_published_on_this_machine_alone_and_each_once() -> None:
    published = [with_defaults(p) for s in SERVICES.values() for p in s.get("ports", [])]
    assert published
    assert all(each.startswith("127.0.0.1:") for each in published)
    outside = [(each.split(":")[1], each.endswith("/udp")) for each in published]
    assert len(set(outside)) == len(outside)


def test_locust_and_the_graph_have_networks_of_their_own() -> None:
    on = {
        network: {name for name, each in SERVICES.items() if network in each.get("networks", [])}
        for network in COMPOSE["networks"]
    }
    assert on["load"] == {"master", "worker"}
    assert on["graph"] == {"graph", "provisioning"}
    assert not on["core"] & {"master", "worker", "graph"}
    assert all(COMPOSE["networks"][name]["internal"] for name in ("core", "graph", "load"))


def test_no_secret_is_in_it() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|secret|passwd|token)\s*[:=]\s*[\"']?\w", text)
    for service in SERVICES.values():
        names = list(service.get("environment", {}))
        assert not [n for n in names if re.search(r"(?i)password|secret|token|auth|key", n)]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_everybody_has_only_their_own_private_folder(service: str) -> None:
    private = {at: volume for at, volume in mounts(service).items() if "private-" in volume}
    if service == "setup":
        assert set(private.values()) == {f"private-{name}" for name in FOLDERS}
    elif service == "provisioning":
        # It hands out certificates, and the issuer's and the servers' keys are no business of its.
        others = {at for at in private if at != "/private"}
        assert (
            not {f"/all/{name}" for name in ("identity", "dashboard", "graph", *SERVERS)} & others
        )
    elif service in {"master", "worker"}:
        assert private == {}
    else:
        assert private == {"/private": f"private-{service}"}
        assert f"private-{service}:/private:ro" in SERVICES[service]["volumes"]


def test_what_services_refer_to_is_there() -> None:
    volumes = {volume for name in SERVICES for volume in mounts(name).values()}
    assert volumes == set(COMPOSE["volumes"])
    waits = {name for s in SERVICES.values() for name in s.get("depends_on", {})}
    assert waits <= set(SERVICES)


def test_who_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if name in ONCE else "service_healthy"
            assert how == {"condition": wanted}


def test_the_image_has_every_folder_that_a_volume_is_mounted_on() -> None:
    # A volume takes over its owner from there; without it, it would be root's.
    dockerfile = (ROOT / "Dockerfile").read_text()
    made = set(re.findall(r"(?<=\s)/[a-z/-]+", dockerfile))
    words = set(re.findall(r"[\w-]+", dockerfile))
    for name in OURS:
        for at in mounts(name):
            folder = at.removeprefix("/all/")
            assert folder in words if at.startswith("/all/") else at in made, at
    assert STATE_FOLDER in words


@pytest.mark.parametrize("service", sorted(OURS - {"master", "worker"}))
def test_commands_name_modules_that_are_there(service: str) -> None:
    python, dash_m, module, *arguments = command(service)
    assert (python, dash_m) == ("python", "-m")
    assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    if module == "city_platform":
        assert arguments[0] in COMPONENTS
    if "--config" in arguments:
        assert arguments[-1] == "/private/config.json"


def chosen(service: str) -> dict[str, Any]:
    """What `lamplighter`'s own parser makes of a service's command."""
    program, name, *arguments = command(service)
    assert program == "lamplighter"
    group = typer.main.get_command(app)
    return group.commands[name].make_context(name, arguments).params  # type: ignore[attr-defined]  # it is a group


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


def test_master_and_workers_mean_the_same_load() -> None:
    master, worker = chosen("master"), chosen("worker")
    assert master["server"] == worker["server"] == f"coaps://server-1:{COAPS_PORT}"
    assert worker["master_host"] in SERVICES
    assert master["master_port"] == worker["master_port"]
    assert master["expect_workers"] == SERVICES["worker"]["deploy"]["replicas"]
    assert master["users"] == worker["users"]
    assert str(worker["devices"]) == DEVICES_FILE


def test_health_checks_ask_where_the_components_listen() -> None:
    asked = {name: str(SERVICES[name]["healthcheck"]["test"][-1]) for name in OURS - ONCE}
    for name in set(COMPONENTS) - {"bridge"}:
        assert asked[name] == str(PORTS[name])
    for nth, server in enumerate(SERVERS, 1):
        assert asked[server] == str(ADMIN_PORT)
        assert asked[f"bridge-{nth}"] == str(BRIDGE_PORT)
    for name, port in (("broker", PORTS["broker"]), ("graph", PORTS["graph"])):
        assert f":{port:04X} " in SERVICES[name]["healthcheck"]["test"][-1]


def test_variables_of_the_set_up_are_those_that_it_reads() -> None:
    assert set(SERVICES["setup"]["environment"]) == set(VARIABLES.values())


def test_the_set_up_reaches_nobody() -> None:
    assert SERVICES["setup"]["network_mode"] == "none"


def test_no_command_needs_a_shell_but_those_of_images_that_are_not_ours() -> None:
    for name in OURS:
        assert not {"sh", "bash", "-c"} & set(command(name))
        assert shlex.join(command(name))
