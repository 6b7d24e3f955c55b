"""The bootstrap server on real sockets: simulated devices bootstrap and then register."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.data_interface import Event, Hello, Resume
from fake_devices.fleet import FleetConfig, run_fleet
from harness.bootstrap_server import BootstrapServerConfig, run
from harness.lwm2m_server import Listen, SecureListen
from lwm2m.coap import Request, codes
from lwm2m.transport.tracing import unwrapped
from runtime.clock import SystemClock
from runtime.component import ConfigError
from runtime.http import PortInUse
from tests.harness.lwm2m_server.test_live import (
    TOKEN,
    BridgeClient,
    LiveDevice,
    bridge_to,
    make_config,
    served,
)
from tests.harness.lwm2m_server.test_live_connections import connected
from tests.harness.lwm2m_server.test_live_security import (
    KEY,
    Authority,
    administering,
    put_key,
    secure,
)
from tests.processes import WITHIN_S

ENDPOINT = "lamp-1"
SHORT_SERVER_ID = 101


def bootstrap_config(directory: Path, **fields: Any) -> BootstrapServerConfig:
    directory.mkdir(exist_ok=True)
    (directory / "token").write_text(TOKEN)
    return BootstrapServerConfig(
        server="bs1",
        state_dir=str(directory / "state"),
        token_file=str(directory / "token"),
        journal_file=str(directory / "bootstrap.jsonl"),
        **fields,
    )


@contextlib.asynccontextmanager
async def bootstrap_served(
    config: BootstrapServerConfig, wrap: Any = unwrapped
) -> AsyncIterator[Mapping[str, str]]:
    told: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, SystemClock(), told.set_result, wrap=wrap))
    await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
    if task.done():
        task.result()
    try:
        yield told.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def fleet_of_one(directory: Path, **settings: Any) -> AsyncIterator[None]:
    """A street lamp with a pre-shared key for every server."""
    devices = directory / "devices.ndjson"
    line = {
        "endpoint": ENDPOINT, "serial": "S1", "model": "street_lamp", "latitude": 52.0,
        "longitude": 4.0, "psk_identity": f"psk-{ENDPOINT}", "psk": KEY.hex(),
    }  # fmt: skip
    devices.touch(mode=0o600)
    devices.write_text(json.dumps(line))
    said: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def say() -> AsyncIterator[bytes]:
        while (text := await said.get()) is not None:
            yield text

    config = FleetConfig(
        devices_file=str(devices), seed=7, connects=False, register_retry_s=0.2, **settings
    )
    said.put_nowait(b'{"start": {"rate_per_s": 1000}}')
    task = asyncio.ensure_future(
        run_fleet(config, SystemClock(), lambda _: None, say(), lambda _: None)
    )
    try:
        yield
    finally:
        said.put_nowait(None)
        await task


def account(addresses: Mapping[str, str], scheme: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "short_server_id": SHORT_SERVER_ID,
        "uri": f"{scheme}://{addresses[scheme]}",
        "lifetime_s": 300,
    }
    if scheme == "coaps":
        key = base64.b64encode(KEY).decode()
        found |= {"security": "psk", "identity": f"psk-{ENDPOINT}", "key": key}
    return found


async def put_entry(client: httpx.AsyncClient, entry: Mapping[str, Any]) -> None:
    answer = await client.put(f"/v1/bootstrap/{ENDPOINT}", json=entry)
    assert answer.status_code == 204, answer.text


async def sessions(client: httpx.AsyncClient) -> list[Any]:
    found: list[Any] = (await client.get(f"/v1/sessions?endpoint={ENDPOINT}")).json()
    return found


class Both:
    """Both servers, with a client each of their administration, and a bridge."""

    def __init__(
        self,
        servers: tuple[Mapping[str, str], Mapping[str, str]],
        clients: tuple[httpx.AsyncClient, httpx.AsyncClient],
        bridge: BridgeClient,
    ) -> None:
        self.server, self.bootstrap = servers
        self.server_admin, self.bootstrap_admin = clients
        self.bridge = bridge


def play(directory: Path, story: Callable[[Both], Awaitable[None]]) -> None:
    """Run a story with both servers, which both have the device's key."""

    async def act() -> None:
        # Its key is there for the cases with security; the others come without.
        config = make_config(directory, coaps=SecureListen(), nosec_for_keyed_devices=True)
        other = bootstrap_config(directory / "bootstrap", coaps=SecureListen())
        async with (
            served(config) as server,
            bootstrap_served(other) as bootstrap,
            administering(server) as server_admin,
            administering(bootstrap) as bootstrap_admin,
        ):
            for client in (server_admin, bootstrap_admin):
                await put_key(client, ENDPOINT)
            bridge = await bridge_to(server)
            await bridge.until_frame(Hello)
            bridge.send(Resume(epoch=None, after=0))
            both = Both((server, bootstrap), (server_admin, bootstrap_admin), bridge)
            await story(both)

    asyncio.run(act())


@pytest.mark.slow
@pytest.mark.parametrize("to", ["coap", "coaps"])
@pytest.mark.parametrize("by", ["coap", "coaps"])
def test_a_device_asks_to_be_bootstrapped_and_registers(tmp_path: Path, by: str, to: str) -> None:
    async def story(both: Both) -> None:
        # From plain to secure is what a laboratory does: keys cross the wire in clear.
        entry = {"accounts": [account(both.server, to)], "over_nosec": by == "coap"}
        await put_entry(both.bootstrap_admin, entry)
        uri = f"{by}://{both.bootstrap[by]}"
        async with fleet_of_one(tmp_path, bootstrap_server=uri):
            event = await both.bridge.until_frame(Event, event="registered")
        assert event.endpoint == ENDPOINT
        assert event.registration.lifetime_s == 300
        assert event.registration.security.mode == {"coap": "nosec", "coaps": "psk"}[to]
        (report,) = await sessions(both.bootstrap_admin)
        assert report["state"] == "finished"
        assert report["security"] == {"coap": "nosec", "coaps": "psk"}[by]

    play(tmp_path, story)


@pytest.mark.slow
def test_a_device_takes_a_bootstrap_pack_and_registers(tmp_path: Path) -> None:
    async def story(both: Both) -> None:
        await put_entry(both.bootstrap_admin, {"accounts": [account(both.server, "coap")]})
        settings = {"bootstrap_pack": True, "lwm2m_version": "1.2"}
        uri = f"coaps://{both.bootstrap['coaps']}"
        async with fleet_of_one(tmp_path, bootstrap_server=uri, **settings):
            await both.bridge.until_frame(Event, event="registered")
        counters = (await both.bootstrap_admin.get("/v1/counters")).json()
        assert counters["packs_given"] == 1
        assert "sessions_begun" not in counters

    play(tmp_path, story)


@pytest.mark.slow
def test_a_device_with_a_factory_account_bootstraps_when_its_server_has_it_do_so(
    tmp_path: Path,
) -> None:
    async def story(both: Both) -> None:
        changed = account(both.server, "coap") | {"lifetime_s": 777}
        await put_entry(both.bootstrap_admin, {"accounts": [changed]})
        settings = {
            "server": f"coap://{both.server['coap']}",
            "bootstrap_server": f"coap://{both.bootstrap['coap']}",
        }
        async with fleet_of_one(tmp_path, **settings):
            first = await both.bridge.until_frame(Event, event="registered")
            assert first.registration.lifetime_s != 777
            assert await sessions(both.bootstrap_admin) == []
            # LwM2M Core §6.1.3: the server asks for it by the Bootstrap-Request Trigger.
            asked = {"endpoint": ENDPOINT, "operation": "execute", "path": "/1/0/9"}
            outcome = (await both.server_admin.post("/v1/operations", json=asked)).json()
            assert outcome["code"] == "2.04"
            again = await both.bridge.until_frame(Event, number=2, event="registered")
            assert again.registration.lifetime_s == 777
        (report,) = await sessions(both.bootstrap_admin)
        assert report["state"] == "finished"

    play(tmp_path, story)


@pytest.mark.slow
def test_a_device_whose_factory_server_is_gone_turns_to_the_bootstrap_server(
    tmp_path: Path,
) -> None:
    async def story(both: Both) -> None:
        await put_entry(both.bootstrap_admin, {"accounts": [account(both.server, "coap")]})
        settings = {
            "server": "coap://127.0.0.1:9",
            "bootstrap_server": f"coap://{both.bootstrap['coap']}",
            "ack_timeout_s": 0.1, "max_retransmit": 1, "register_retries": 0,
        }  # fmt: skip
        async with fleet_of_one(tmp_path, **settings):
            event = await both.bridge.until_frame(Event, event="registered")
        assert event.endpoint == ENDPOINT

    play(tmp_path, story)


@pytest.mark.slow
def test_a_device_with_a_certificate_is_bootstrapped_under_its_own_name_alone(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    certificate_file, private_key_file = authority.issue_files("server")
    listen = SecureListen(
        psk=False,
        certificate_file=certificate_file,
        private_key_file=private_key_file,
        trust_anchors_file=authority.file,
    )

    async def story() -> None:
        config = bootstrap_config(tmp_path / "bootstrap", coap=None, coaps=listen)
        async with (
            bootstrap_served(config) as addresses,
            administering(addresses) as client,
        ):
            assert "coap" not in addresses
            accounts = [{"short_server_id": 1, "uri": "coap://127.0.0.1:5683"}]
            await put_entry(client, {"accounts": accounts})
            device = await secure(LiveDevice(addresses["coaps"]), authority.credentials(ENDPOINT))
            for name, expected in (("lamp-2", codes.BAD_REQUEST), (ENDPOINT, codes.CHANGED)):
                device.driver.send_request(
                    device.server, Request(codes.POST, ("bs",), (f"ep={name}",))
                )
                answer = await asyncio.wait_for(device.responses.get(), WITHIN_S)
                assert answer.code == expected
            # Its session ends, and with it what was bootstrapped over it.
            device.driver.close()
            async with asyncio.timeout(WITHIN_S):
                while (await sessions(client))[0]["state"] != "failed":
                    continue  # each turn waits for an answer
            counters = (await client.get("/v1/counters")).json()
            assert counters["refused_identity_mismatch"] == 1
            assert counters["dtls_established"] == 1

    asyncio.run(story())


@pytest.mark.slow
def test_a_device_asks_over_a_connection_and_its_end_ends_the_session(tmp_path: Path) -> None:
    async def story() -> None:
        config = bootstrap_config(tmp_path / "bootstrap", coap=None, coap_tcp=Listen())
        async with (
            bootstrap_served(config) as addresses,
            administering(addresses) as client,
        ):
            accounts = [{"short_server_id": 1, "uri": "coap://127.0.0.1:5683"}]
            await put_entry(client, {"accounts": accounts})
            async with connected(addresses["coap+tcp"]) as device:
                answer = await device.ask(("bs",), f"ep={ENDPOINT}")
                assert answer is not None
                assert answer.code == codes.CHANGED
            async with asyncio.timeout(WITHIN_S):
                while (await sessions(client))[0]["state"] == "running":
                    continue  # each turn waits for an answer
            counters = (await client.get("/v1/counters")).json()
            assert counters["sessions_begun"] == 1
            assert counters["sessions_running"] == 0
            assert not [name for name in counters if name.startswith("datagram")]

    asyncio.run(story())


@pytest.mark.slow
def test_a_trace_sees_what_passes(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def wrap(receive: Any) -> Any:
        def take(datagrams: Any) -> None:
            found = list(datagrams)
            seen.extend(data for data, _ in found)
            receive(found)

        return take, lambda link: link

    async def story() -> None:
        async with bootstrap_served(bootstrap_config(tmp_path), wrap) as addresses:
            device = await LiveDevice(addresses["coap"]).open()
            device.driver.send_request(
                device.server, Request(codes.POST, ("bs",), (f"ep={ENDPOINT}",))
            )
            answer = await asyncio.wait_for(device.responses.get(), WITHIN_S)
            assert answer.code == codes.BAD_REQUEST
            device.driver.close()

    asyncio.run(story())
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"coap": None}, "neither coap nor coaps"),
        ({"coaps": SecureListen(psk=False)}, "keys, a certificate, or both"),
        ({"entries_file": "/nowhere"}, "cannot read /nowhere"),
        ({"entries_file": __file__}, "test_live.py, line 1"),
    ],
)
def test_a_configuration_that_cannot_serve_is_refused(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match=told):
            async with bootstrap_served(bootstrap_config(tmp_path, **fields)):
                pass

    asyncio.run(story())


def test_entries_with_keys_are_taken_from_their_owners_own_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "entries.ndjson"
    secured = {"short_server_id": 1, "uri": "coaps://h:1", "security": "psk", "key": "AAAA"}
    file.write_text(json.dumps({"endpoint": ENDPOINT, "accounts": [secured]}))
    file.chmod(0o644)

    async def story() -> None:
        config = bootstrap_config(tmp_path / "state", entries_file=str(file))
        with pytest.raises(ConfigError, match="chmod 600"):
            async with bootstrap_served(config):
                pass
        file.chmod(0o600)
        async with bootstrap_served(config) as addresses, administering(addresses) as client:
            (summary,) = [(await client.get(f"/v1/bootstrap/{ENDPOINT}")).json()]
            assert summary["servers"] == ["coaps://h:1"]

    asyncio.run(story())


def test_entries_over_http(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            bootstrap_served(bootstrap_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            entry = {"accounts": [{"short_server_id": 1, "uri": "coap://h:1"}]}
            await put_entry(client, entry)
            rows = [
                json.dumps(entry | {"endpoint": "lamp-2"}), "", "{}",
                json.dumps(entry | {"endpoint": ENDPOINT}),
            ]  # fmt: skip
            found = (await client.post("/v1/bootstrap", content="\n".join(rows))).json()
            assert (found["rows"], found["changed"], found["rejected"]) == (3, 1, 1)
            assert found["errors"][0]["row"] == 2
            for wrong in (b"x" * 300_000, b"[]", b"{", b'{"endpoint": "another"}'):
                answer = await client.put(f"/v1/bootstrap/{ENDPOINT}", content=wrong)
                assert answer.status_code == (413 if len(wrong) > 1_000 else 400)
            assert (await client.delete("/v1/bootstrap/lamp-2")).status_code == 204
            assert (await client.delete("/v1/bootstrap/lamp-2")).status_code == 404
            assert (await client.get("/v1/bootstrap/lamp-2")).status_code == 404
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with bootstrap_served(bootstrap_config(tmp_path / "one")) as addresses:
            taken = Listen("127.0.0.1", int(addresses["coap"].rpartition(":")[2]))
            with pytest.raises(PortInUse, match="choose another port"):
                async with bootstrap_served(bootstrap_config(tmp_path / "two", coap=taken)):
                    pass

    asyncio.run(story())
