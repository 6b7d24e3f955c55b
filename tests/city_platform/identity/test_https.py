"""The issuer over HTTPS beside HTTP: components on other machines fetch its keys there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from city_platform.identity import IdentityConfig
from city_platform.identity.config import HttpsListen, PasswordCost
from city_platform.identity.fetch import FetchFailed, fetch
from city_platform.identity.service import serve
from harness.compose.installation import FOLDERS, STATE_FOLDER, Choices
from harness.compose.setup import set_up
from runtime.clock import SystemClock

JWKS_BYTES_MAX = 65_536


def identity_files(root: Path) -> Path:
    for name in (*FOLDERS, STATE_FOLDER):
        (root / name).mkdir(parents=True)
    set_up(root, Choices(), lambda size: bytes(size), SystemClock().wall_us())
    return root / "identity"


async def with_https(files: Path, state: Path, then: Callable[[Mapping[str, str]], object]) -> None:
    """Run the issuer with HTTPS and, once it is ready, `then` with its addresses."""
    config = IdentityConfig(
        state_dir=str(state),
        token_file=str(files / "services.token"),
        https=HttpsListen(
            host="127.0.0.1",
            port=0,
            certificate_file=str(files / "identity.pem"),
            key_file=str(files / "identity.key"),
        ),
        public_url="https://identity:8444",
        password_cost=PasswordCost(time_cost=1, memory_kib=8),
    )
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(config, SystemClock(), ready.set_result, lambda size: bytes(size), lambda _: None)
    )
    try:
        await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        found = then(await ready)
        if asyncio.iscoroutine(found):
            await found
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.slow
def test_its_keys_are_fetched_by_who_knows_its_certificate_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = identity_files(tmp_path / "all")

    async def story(addresses: Mapping[str, str]) -> None:
        assert set(addresses) == {"http", "https"}
        port = int(addresses["https"].rpartition(":")[2])
        loop = asyncio.get_running_loop()
        looked_up = loop.getaddrinfo

        async def here(host: str, *more: object, **named: object) -> object:
            # The name in the certificate is that of the container.
            return await looked_up("127.0.0.1" if host == "identity" else host, *more, **named)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(loop, "getaddrinfo", here, raising=False)
        url = f"https://identity:{port}/.well-known/jwks.json"
        keys = await fetch(url, JWKS_BYTES_MAX, str(files / "identity.pem"))
        assert b'"keys"' in keys
        with pytest.raises(FetchFailed):
            await fetch(url, JWKS_BYTES_MAX, str(files.parent / "dashboard" / "dashboard.pem"))

    asyncio.run(with_https(files, tmp_path / "state", story))
