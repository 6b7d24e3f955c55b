"""Folders of the user's are printed as they are called, whatever their names mean to a printer."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.errors import ScenarioError
from harness.lwm2m_server.secret_files import read_token
from harness.serve import ServeOptions, _Addresses, full_disk_told
from runtime.component import ConfigError


@pytest.mark.parametrize("name", ["q[/b]", "r[red]x", "s:lamp:[bold]"])
def test_serve_tells_the_folder_of_its_state_by_its_name(tmp_path: Path, name: str) -> None:
    state = tmp_path / name
    told = io.StringIO()
    addresses = _Addresses(ServeOptions(security="none"), state, Console(file=told, width=60))
    addresses.server({"coap": "127.0.0.1:1", "admin": "127.0.0.1:2"})
    addresses.bootstrap({"coap": "127.0.0.1:3", "admin": "127.0.0.1:4"})
    assert told.getvalue().startswith("The LwM2M server is up. Ctrl-C ends it.\n")
    assert f"$(cat {state}/token)" in told.getvalue()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"tok\x00en", "Schlüssel".encode(), b"two\nlines"]
)
def test_a_token_that_is_no_line_of_ascii_is_refused_with_the_file(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"the token file {file} has what no token has"):
        read_token(str(file))


def test_a_full_disk_is_told_with_the_folder_and_what_to_do(tmp_path: Path) -> None:
    why = f"the disk that holds {tmp_path} is full .*free space there and start again"
    with pytest.raises(ScenarioError, match=why), full_disk_told(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), full_disk_told(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
