"""`lamplighter serve` and `lamplighter device`: what is told is enough for a device to come in."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from rich.console import Console

from harness.errors import ScenarioError
from harness.lwm2m_server.config import Listen
from harness.lwm2m_server.listeners import port_in_use
from harness.run_device import DeviceOptions, run_device
from harness.security import Security
from harness.serve import ServeOptions, how_to_use, serve
from runtime.component import ConfigError
from runtime.files import write_secret
from runtime.http import PortInUse
from tests.harness.commands_beside import Command, device_options
from tests.processes import WITHIN_S

CURL_WITHIN_S = 60.0


@pytest.mark.parametrize("security", ["psk", "x509", "none"])
def test_the_command_that_serve_prints_for_a_device_brings_it_in(
    security: Security, tmp_path: Path
) -> None:
    async def story() -> None:
        options = ServeOptions(
            security=security, state=tmp_path, devices=("lamp-1",), tcp_port=0, tls_port=0
        )
        async with Command(lambda console: serve(options, console)) as servers:
            await servers.until(r"coap\+tcp://127.*\n.*coaps\+tcp://127")
            line = await servers.until("lamplighter device (.*)")
            device = device_options(line[1])
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


async def _run_curls(text: str) -> list[str]:
    """Run all commands with curl that were printed, in their order; what each answered."""
    answers = []
    for command in re.findall(r"^  (curl (?:.*\\\n)*.*)$", text, re.MULTILINE):
        process = await asyncio.create_subprocess_shell(
            f"{command} -sS -w ' %{{http_code}}'", stdout=asyncio.subprocess.PIPE
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), CURL_WITHIN_S)
        finally:
            if process.returncode is None:
                process.kill()
        answers.append(said.decode())
    return answers


@pytest.mark.skipif(shutil.which("curl") is None, reason="what is printed calls curl")
@pytest.mark.parametrize("security", ["psk", "x509", "none"])
def test_what_serve_prints_bootstraps_a_device_when_it_is_done_as_printed(
    security: Security, tmp_path: Path
) -> None:
    async def story() -> None:
        options = ServeOptions(security=security, state=tmp_path, devices=("lamp-1",))
        async with Command(lambda console: serve(options, console)) as servers:
            text = (await servers.until(r"(?s).*All routes"))[0]
            assert "NAME" not in text.replace("--device NAME", "")
            answers = await _run_curls(text)
            assert [answer[-3:] for answer in answers] == ["200", "200", "204"], answers
            line = re.search("lamplighter device (.*--bootstrap.*)", text)
            assert line is not None
            device = device_options(line[1])
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


@pytest.mark.skipif(shutil.which("curl") is None, reason="what is printed calls curl")
@pytest.mark.parametrize("security", ["psk", "none"])
def test_what_serve_prints_for_nobody_in_particular_is_taken_by_the_servers(
    security: Security, tmp_path: Path
) -> None:
    async def story() -> None:
        options = ServeOptions(security=security, state=tmp_path / "state")
        key = tmp_path / "key"
        write_secret(key, bytes(range(16)).hex().encode())
        async with Command(lambda console: serve(options, console)) as servers:
            text = (await servers.until(r"(?s).*All routes"))[0]
            answers = await _run_curls(text)
            puts = 3 if security == "psk" else 1
            assert [answer[-3:] for answer in answers] == ["200", "200", *["204"] * puts]
            where = await servers.until(r"(?s).*bootstrap server +(?:coap://\S+\s+)?(coaps?://\S+)")
            device = DeviceOptions(
                model="street_lamp",
                endpoint="NAME",
                bootstrap_server=where[1],
                psk_file=key if security == "psk" else None,
            )
            async with Command(lambda console: run_device(device, console)) as lamp:
                await lamp.until("registered at /rd/")

    uvloop.run(story())


def test_with_certificates_nothing_is_said_of_shared_keys(tmp_path: Path) -> None:
    server = {"coap": "127.0.0.1:5683", "coaps": "127.0.0.1:5684", "admin": "127.0.0.1:80"}
    text = how_to_use(server, server, tmp_path, ServeOptions(security="x509"))
    assert "--device NAME" in text
    assert "/v1/security/" not in text
    assert "/v1/bootstrap/" not in text


def test_the_keys_of_a_named_device_are_in_no_printed_command(tmp_path: Path) -> None:
    server = {"coap": "127.0.0.1:5683", "coaps": "127.0.0.1:5684", "admin": "127.0.0.1:80"}
    text = how_to_use(server, server, tmp_path, ServeOptions(devices=("lamp-1",)))
    assert f"-d '@{tmp_path}/lwm2m_pki/devices/lamp-1.bootstrap.json'" in text
    assert '"key"' not in text


def test_credentials_that_were_made_stay_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        options = ServeOptions(state=tmp_path, devices=("lamp-1",))
        for _ in range(2):
            async with Command(lambda console: serve(options, console)) as servers:
                await servers.until("All routes")
            keys.append((tmp_path / "lwm2m_pki" / "devices" / "lamp-1.psk").read_text())

    keys: list[str] = []
    uvloop.run(story())
    assert keys[0] == keys[1]


def test_a_device_tells_why_its_bootstrap_is_refused() -> None:
    async def story() -> None:
        nobody = ServeOptions(security="none")
        async with Command(lambda console: serve(nobody, console)) as servers:
            where = await servers.until(r"bootstrap server +(coap://\S+)")
            options = DeviceOptions(model="street_lamp", bootstrap_server=where[1])
            async with Command(lambda console: run_device(options, console)) as lamp:
                await lamp.until(r"refused: 4\.00 not known here")

    uvloop.run(story())


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({}, "--server coap://host:port"),
        ({"server": "127.0.0.1:5683"}, "--server: .*expected coap://host:port"),
        ({"server": "coap://127.0.0.1:99999"}, "--server: .*a port of 1 to 65535"),
        ({"server": "coap+tcp://127.0.0.1:1"}, "--server: .*UDP or DTLS"),
        ({"server": "coap://h:1", "bootstrap_server": "h:2"}, "--bootstrap: "),
        ({"server": "coap://127.0.0.1:1", "lifetime_s": -1}, "--lifetime -1: choose 1"),
        ({"server": "coaps://h:1"}, "needs --psk FILE, or --certificate, --key and --trust"),
        ({"bootstrap_server": "coaps://h:1"}, "coaps://h:1 needs --psk FILE"),
        ({"server": "coaps://h:1", "certificate_file": Path("c")}, "--key FILE is missing"),
        ({"server": "coaps://h:1", "key_file": Path("k")}, "--certificate FILE is missing"),
        (
            {"server": "coaps://h:1", "certificate_file": Path("c"), "key_file": Path("k")},
            "needs --trust FILE too",
        ),
    ],
)
def test_options_of_a_device_that_cannot_work_are_named(choices: dict[str, Any], told: str) -> None:
    options = DeviceOptions(model="street_lamp", **choices)
    with pytest.raises(ScenarioError, match=told):
        uvloop.run(run_device(options, Console(file=io.StringIO())))


def test_an_address_of_another_machine_is_not_taken_for_a_port_in_use(tmp_path: Path) -> None:
    options = ServeOptions(host="203.0.113.5", state=tmp_path)
    with pytest.raises(ConfigError, match=r"203\.0\.113\.5: it is no address of this machine"):
        uvloop.run(serve(options, Console(file=io.StringIO())))


def test_a_certificate_needs_a_host_in_figures(tmp_path: Path) -> None:
    options = ServeOptions(host="lamps.example", security="x509", state=tmp_path)
    with pytest.raises(ScenarioError, match=r"--host lamps\.example: write the address in figures"):
        uvloop.run(serve(options, Console(file=io.StringIO())))


def test_a_port_in_use_is_told_without_the_systems_number() -> None:
    error = port_in_use(Listen("127.0.0.1", 5683), OSError(errno.EADDRINUSE, "in use"))
    assert isinstance(error, PortInUse)
    assert str(error) == "cannot listen on 127.0.0.1:5683 (in use): choose another port"


@pytest.mark.slow
def test_a_device_tells_that_nothing_answers_and_goes_on() -> None:
    async def story() -> None:
        options = DeviceOptions(model="street_lamp", server="coap://127.0.0.1:9")
        async with Command(lambda console: run_device(options, console)) as lamp:
            await lamp.until("nothing answers at 127.0.0.1:9 yet; trying again")

    uvloop.run(story())


class Heard(logging.Handler):
    """Sets an event when a text is logged."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.event = asyncio.Event()
        self._text = text

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.event.set()


@pytest.mark.parametrize("shows_psk_to_x509", [True, False])
def test_a_device_with_the_wrong_credentials_is_told_what_to_look_at(
    shows_psk_to_x509: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        x509 = ServeOptions(security="x509", state=tmp_path / "a", devices=("lamp-1",))
        other = ServeOptions(
            security="psk" if shows_psk_to_x509 else "x509",
            state=tmp_path / "b",
            devices=("lamp-1",),
        )
        async with (
            Command(lambda console: serve(x509, console)) as servers,
            Command(lambda console: serve(other, console)) as others,
        ):
            server = await servers.until("--server (coaps://[^ ]+)")
            line = await others.until("lamplighter device (.*--server.*)")
            device = msgspec.structs.replace(device_options(line[1]), server=server[1])
            heard = Heard("no DTLS session")
            logging.getLogger("fake_devices").addHandler(heard)
            async with Command(lambda console: run_device(device, console)):
                await asyncio.wait_for(heard.event.wait(), WITHIN_S)
            logging.getLogger("fake_devices").removeHandler(heard)

    uvloop.run(story())
    expected = "takes no credentials of this kind" if shows_psk_to_x509 else "not signed by a trust"
    assert expected in caplog.text


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("00" * 16)
    file.chmod(0o644)
    options = DeviceOptions(model="street_lamp", server="coaps://127.0.0.1:1", psk_file=file)
    with pytest.raises(ConfigError, match="0600"):
        uvloop.run(run_device(options, Console(file=io.StringIO())))


def test_a_key_in_hexadecimal_is_not_taken_for_base64(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text('{"endpoint": "a", "identity": "a", "key": "' + "0a" * 16 + '"}\n')
    file.chmod(0o600)
    options = ServeOptions(state=tmp_path / "state", keys_file=file)
    with pytest.raises(ScenarioError, match="line 1: key of a: it is in hexadecimal"):
        uvloop.run(serve(options, Console(file=io.StringIO())))


def test_no_example_names_the_wildcard_that_is_listened_on(tmp_path: Path) -> None:
    options = ServeOptions(host="0.0.0.0", devices=("lamp-1",))
    server = {"coap": "0.0.0.0:5683", "coaps": "0.0.0.0:5684", "admin": "127.0.0.1:80"}
    text = how_to_use(server, server, tmp_path, options)
    assert "--server coaps://127.0.0.1:5684" in text
    assert "--bootstrap coaps://127.0.0.1:5684" in text
    assert "0.0.0.0:" not in text.partition("ends it")[2].partition("Who is")[2]
