"""Peers that live as long as the session, and the keeping of each cell's result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.interop import fetch_leshan, libcoap, results
from tests.interop.cells import Cell
from tests.interop.pairs import DeviceAtLeshan, LeshanAtServer, LeshanServers, Made, OurServers
from tests.maven import PeerMissing

_VERSIONS: dict[str, Callable[[], str]] = {
    "leshan": lambda: fetch_leshan.VERSION,
    "libcoap": libcoap.version,
    "aiocoap": lambda: version("aiocoap"),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what came of a cell."""
    report = yield
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    cell = parameters.get("cell")
    if isinstance(cell, Cell):
        results.note(cell, report, _VERSIONS[cell.peer]())
    return report


@pytest.fixture(scope="session")
def ends() -> Iterator[ExitStack]:
    """What ends with the session, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def needs_leshan() -> None:
    """Skips where Leshan is not."""
    try:
        fetch_leshan.fetch()
    except PeerMissing as error:
        pytest.skip(f"Leshan: {error}")


@pytest.fixture(scope="session")
def leshan_servers(needs_leshan: None, ends: ExitStack) -> LeshanServers:
    """Leshan's server and bootstrap server, started when first asked for."""
    return LeshanServers(ends)


@pytest.fixture(scope="session")
def our_servers(tmp_path_factory: pytest.TempPathFactory, ends: ExitStack) -> OurServers:
    """Our server emulator, started when first asked for."""
    return OurServers(tmp_path_factory.mktemp("server"), ends)


@pytest.fixture(scope="session")
def devices_at_leshan(
    leshan_servers: LeshanServers, tmp_path_factory: pytest.TempPathFactory, ends: ExitStack
) -> Made[DeviceAtLeshan]:
    """Our device registered at Leshan's server, one for each kind of security."""
    directory: Path = tmp_path_factory.mktemp("devices")
    return Made(lambda security: DeviceAtLeshan(leshan_servers, directory, security, ends))


@pytest.fixture(scope="session")
def leshans_at_server(
    needs_leshan: None, our_servers: OurServers, ends: ExitStack
) -> Made[LeshanAtServer]:
    """Leshan's client registered at our server, one for each kind of security."""
    return Made(lambda security: LeshanAtServer(our_servers, security, ends))
