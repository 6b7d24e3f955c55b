"""DTLS with OpenSSL's own program, both ways, each suite, with and without tickets."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from lwm2m.transport.dtls import SUITES, DtlsClientLink, DtlsSettings, open_dtls_server
from lwm2m.transport.dtls.failures import CLOSE_NOTIFY
from lwm2m.transport.dtls.records import WARNING
from tests.interop.our_coap import free_port
from tests.lwm2m.transport.dtls_pair import (
    ENDPOINT,
    IDENTITY,
    KEY,
    NOW_UNIX_S,
    PSK,
    certificates,
    key_of,
)
from tests.lwm2m.transport.dtls_peers import PemFiles, Program, open_loopback_udp, run_within

# They start programs, and wait for the timers of those.
pytestmark = pytest.mark.slow

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program here")


# The programs judge certificates at this moment, as our side does.
_AT = ("-attime", str(int(NOW_UNIX_S)))


def _cipher(suite: str) -> str:
    return f"{SUITES[suite].openssl_name}:@SECLEVEL=0"


@openssl
@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize("tickets", [True, False])
def test_openssls_client_talks_to_our_server(suite: str, tickets: bool, tmp_path: Path) -> None:
    async def story() -> None:
        told = asyncio.Event()
        received: list[tuple[bytes, Any]] = []

        def receive(datagrams: list[tuple[bytes, Any]]) -> None:
            received.extend(datagrams)
            server.send([(b"seen: " + data, peer) for data, peer in datagrams])
            told.set()

        made = certificates()
        files = PemFiles(tmp_path, made)
        server = await open_dtls_server(
            "127.0.0.1",
            0,
            receive,
            made.server_credentials(key_of=key_of),
            settings=DtlsSettings(suites=(suite,), offers_resumption=tickets),
            unix_time_s=lambda: NOW_UNIX_S,
        )
        proof = (
            ("-psk_identity", IDENTITY, "-psk", KEY.hex())
            if SUITES[suite].authentication == "psk"
            else (
                "-cert",
                files.client,
                "-key",
                files.client_key,
                "-CAfile",
                files.anchor,
                *_AT,
                "-verify_return_error",
                "-verify_hostname",
                "server.example",
            )
        )
        client = await Program.start(
            "openssl", "s_client", "-dtls1_2", "-quiet",
            "-connect", f"127.0.0.1:{server.address[1]}", "-cipher", _cipher(suite), *proof,
        )  # fmt: skip
        try:
            client.type(b"hello from openssl\n")
            await client.until(b"seen: hello from openssl")
            await told.wait()
            (_, peer) = received[0]
            assert peer.endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    run_within(story())


@openssl
@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize(("asked", "tickets"), [(True, True), (True, False), (False, True)])
def test_our_client_talks_to_openssls_server_and_resumes(
    suite: str, asked: bool, tickets: bool, tmp_path: Path
) -> None:
    async def story() -> None:
        made = certificates()
        files = PemFiles(tmp_path, made)
        is_psk = SUITES[suite].authentication == "psk"
        proof = (
            ("-psk_identity", IDENTITY, "-psk", KEY.hex(), "-nocert")
            if is_psk
            else (
                "-cert",
                files.server,
                "-key",
                files.server_key,
                "-CAfile",
                files.anchor,
                *_AT,
                "-Verify",
                "1",
                "-verify_return_error",
            )
        )
        port = await free_port()
        server = await Program.start(
            "openssl", "s_server", "-dtls1_2", "-listen", "-accept", f"127.0.0.1:{port}", "-cipher",
            _cipher(suite), *proof, *(() if tickets else ("-no_ticket",)),
        )  # fmt: skip
        established: list[bool] = []
        client = await DtlsClientLink.over(
            open_loopback_udp,
            lambda datagrams: None,
            lambda peer: PSK if is_psk else made.client_credentials(),
            established=lambda peer, is_resumed: established.append(is_resumed),
            unix_time_s=lambda: NOW_UNIX_S,
            settings=DtlsSettings(suites=(suite,), retransmit_timeout_s=0.1, resumes_psk=asked),
        )
        try:
            await server.until(b"ACCEPT")
            peer = ("127.0.0.1", port)
            client.send([(b"hello from us\n", peer)])
            await server.until(b"hello from us")
            # Its close_notify, but the ticket is kept: it ends the session and waits for another.
            endpoint = client.endpoint
            endpoint._send_alert(endpoint._sessions[peer], WARNING, CLOSE_NOTIFY)
            endpoint.restart(peer, 0.0)
            client.send([])
            await server.until(b"DONE")
            client.send([(b"hello again\n", peer)])
            await server.until(b"hello again")
            assert established == [False, tickets and (asked or not is_psk)]
        finally:
            client.close()
            await server.kill()

    run_within(story())
