"""libcoap's command-line programs as peers: which of them exist here, and how they are run."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.credentials import Credential
from tests.interop.processes import TextProcess
from tests.processes import WITHIN_S

_FLAVOURS = ("openssl", "gnutls", "notls")
_WITHIN_S = 60
# What the client prints of a message: "v:1 t:ACK c:2.05 i:1f5d {01} [ options ] :: 'payload'".
_MESSAGE = re.compile(r"v:1 t:(\w+) c:(\S+) i:(\w+) \{\w*\} \[(.*?)\](?: :: '?(.*))?$")


def program(kind: str, *, secure: bool = False) -> str | None:
    """The path of coap-client or coap-server; Debian names them after their TLS library."""
    for flavour in _FLAVOURS:
        if secure and flavour == "notls":
            continue
        found = shutil.which(f"coap-{kind}-{flavour}")
        if found is not None:
            return found
    return shutil.which(f"coap-{kind}")


def needed(kind: str, *, secure: bool = False) -> str:
    """The path of a program; skips the test where it is not."""
    found = program(kind, secure=secure)
    if found is None:
        pytest.skip(f"libcoap: no coap-{kind} on this machine (Debian: libcoap3-bin)")
    return found


@functools.cache
def version() -> str:
    """The version that the client tells; empty when there is none."""
    found = program("client")
    if found is None:
        return ""
    # It has no option for that: any usage error prints it.
    said = subprocess.run(
        [found, "-?"], capture_output=True, text=True, check=False, timeout=WITHIN_S
    )
    matched = re.search(r"v(\d[\w.]*)", said.stdout + said.stderr)
    return matched[1] if matched else ""


@dataclass(frozen=True, slots=True)
class Told:
    """One message as the client printed it: its code (`2.05`), its options in words."""

    type: str
    code: str
    options: dict[str, list[str]]
    payload: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one run of the client: the responses that it printed, and the body."""

    responses: list[Told]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the last response."""
        return self.responses[-1].code if self.responses else "no response"


def ask(
    uri: str,
    method: str = "get",
    *,
    body_file: Path,
    options: Sequence[str] = (),
    payload: bytes | None = None,
    content_format: int | None = None,
    accept: int | None = None,
    credential: Credential | None = None,
    observe_s: int | None = None,
) -> Asked:
    """Run the client once. `body_file` is where it may write what it gets (and what it sends)."""
    command = [needed("client", secure=credential is not None), "-v", "7", "-B", str(_WITHIN_S)]
    command += ["-m", method, "-o", str(body_file), *options]
    if content_format is not None:
        command += ["-t", str(content_format)]
    if accept is not None:
        command += ["-A", str(accept)]
    if observe_s is not None:
        command += ["-s", str(observe_s)]
    if payload is not None:
        sent = body_file.with_suffix(".sent")
        sent.write_bytes(payload)
        command += ["-f", str(sent)]
    body_file.unlink(missing_ok=True)
    done = subprocess.run(
        [*command, *security_options(credential, body_file.parent), uri],
        capture_output=True,
        check=False,
        timeout=_WITHIN_S + WITHIN_S,
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    body = body_file.read_bytes() if body_file.exists() else b""
    return Asked(told_in(text), body)


def told_in(text: str) -> list[Told]:
    """The responses in what the client printed."""
    found = [_MESSAGE.match(line) for line in text.splitlines()]
    return [
        Told(each[1], each[2], _options(each[4]), each[5] or "")
        for each in found
        if each is not None and each[2][0] in "245"
    ]


def _options(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in text.strip().split(", "):
        name, _, value = part.partition(":")
        if name:
            found.setdefault(name, []).append(value)
    return found


def security_options(credential: Credential | None, directory: Path) -> list[str]:
    """The client's options for a credential. The program takes a PSK in no other way than on its
    command line: only keys of chance, made for one session, go there."""
    from tests.interop.credentials import KeyPair, authority
    from tests.interop.ours import pem_certificate, pem_files

    if credential is None:
        return []
    if credential.mode == "psk":
        return ["-u", credential.identity, "-k", credential.key.decode()]
    pair = KeyPair(credential.certificate, credential.key)
    certificate, key = pem_files(directory, credential.endpoint, pair)
    anchors = pem_certificate(directory, authority().certificate)
    return ["-c", str(certificate), "-j", str(key), "-C", str(anchors)]


class LibcoapServer:
    """libcoap's example server on a port of its own: resources /, /time, /async, /example_data, and
    whatever is PUT."""

    def __init__(self, port: int, *, key: str | None = None) -> None:
        command = [needed("server", secure=key is not None), "-A", "127.0.0.1", "-p", str(port)]
        command += ["-v", "7", "-d", "20"]
        if key is not None:
            command += ["-k", key, "-h", "interop"]
        self._process = TextProcess(command)
        scheme = "DTLS" if key is not None else "UDP"
        self._process.until(
            lambda line: "created" in line and scheme in line and "endpoint" in line
        )

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
