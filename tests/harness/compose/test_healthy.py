"""The health check of a container tells a component that can work from one that cannot."""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from harness.compose import healthy
from harness.compose.healthy import is_connected, main
from harness.compose.installation import FOLDERS, STATE_FOLDER, Choices
from harness.compose.setup import set_up
from tests.processes import WITHIN_S

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F98 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001        0 1 1
   1: 0A00020F:C5D2 0B00020F:15B5 01 00000000:00000000 00:00000000 00000000 10001        0 2 1
   2: 0A00020F:C5D4 0B00020F:22B3 06 00000000:00000000 00:00000000 00000000 10001        0 3 1
"""


class Component(BaseHTTPRequestHandler):
    """Ready, on any page, unless its server says that it is not."""

    def do_GET(self) -> None:
        ready = getattr(self.server, "is_ready", True)
        self.send_response(200 if ready and self.path in ("/", "/readyz") else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def component() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Component)
    yield from serving(server)


def serving(server: HTTPServer) -> Iterator[HTTPServer]:
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join(WITHIN_S)
    server.server_close()


def port_of(server: socketserver.BaseServer) -> str:
    return str(server.server_address[1])


def test_who_is_ready_is_well(component: HTTPServer) -> None:
    assert main([port_of(component)]) == 0
    assert main(["page", port_of(component)]) == 0


def test_who_answers_that_it_is_not_ready_is_not_well(component: HTTPServer) -> None:
    component.is_ready = False  # type: ignore[attr-defined]  # its handler looks there
    assert main([port_of(component)]) == 1


def test_who_does_not_listen_is_not_well(component: HTTPServer) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Component) as closed:
        port = port_of(closed)
    assert main([port]) == 1


def test_a_file_that_is_waited_for_has_to_be_there(component: HTTPServer, tmp_path: Path) -> None:
    file = tmp_path / "handed_out"
    assert main(["file", str(file), port_of(component)]) == 1
    file.touch()
    assert main(["file", str(file), port_of(component)]) == 0


def test_pages_over_https_are_asked_too(tmp_path: Path) -> None:
    for name in (*FOLDERS, STATE_FOLDER):
        (tmp_path / name).mkdir()
    set_up(tmp_path, Choices(), lambda size: bytes(size), 1_780_000_000_000_000)
    server = HTTPServer(("127.0.0.1", 0), Component)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = tmp_path / "dashboard"
    context.load_cert_chain(own / "dashboard.pem", own / "dashboard.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for each in serving(server):
        assert main(["https", port_of(each)]) == 0


def test_a_standing_connection_is_told_from_others() -> None:
    assert is_connected(TABLE, 5557)
    assert not is_connected(TABLE, 8883), "it is being closed"
    assert not is_connected(TABLE, 8088), "it listens"


def test_it_runs_without_anything_of_ours(component: HTTPServer) -> None:
    script = Path(healthy.__file__)
    done = subprocess.run(
        [sys.executable, "-IS", str(script), port_of(component)], check=False, timeout=WITHIN_S
    )
    assert done.returncode == 0


def test_what_it_does_not_know_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 3
    assert "healthy.py" in capsys.readouterr().err
