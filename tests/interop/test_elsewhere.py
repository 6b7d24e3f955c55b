"""Cells whose tests live with the transports: aiocoap and our CoAP core.

They are run here once more, so that the matrix is printed from results and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.cells import (
    AIOCOAP_CORE_CLIENT,
    AIOCOAP_CORE_SERVER,
    NONE,
    OSCORE,
    TCP,
    TLS,
    Cell,
)
from tests.lwm2m.transport import test_aiocoap_oscore as oscore
from tests.lwm2m.transport import test_aiocoap_peer as plain
from tests.lwm2m.transport import test_aiocoap_tcp as tcp
from tests.lwm2m.transport.test_aiocoap_tcp import pki

pytestmark = pytest.mark.slow

__all__ = ["pki"]

Story = Callable[[Path, Any], None]

OF_SERVER: dict[str, Story] = {
    NONE: lambda folder, keys: plain.test_our_client_talks_to_an_aiocoap_server(64),
    OSCORE: lambda folder, keys: oscore.test_our_client_asks_an_aiocoap_server(
        folder, "known", b"city"
    ),
    TCP: lambda folder, keys: (
        tcp.test_our_client_asks_an_aiocoap_server_and_is_asked_over_the_same_connection()
    ),
    TLS: lambda folder, keys: tcp.test_our_client_trusts_an_aiocoap_server_over_tls(keys),
}
OF_CLIENT: dict[str, Story] = {
    NONE: lambda folder, keys: plain.test_an_aiocoap_client_talks_to_our_server(64),
    OSCORE: lambda folder, keys: oscore.test_an_aiocoap_client_asks_our_server(folder, b"city"),
    TCP: lambda folder, keys: (
        tcp.test_an_aiocoap_client_asks_our_server_and_is_asked_over_the_same_connection()
    ),
    TLS: lambda folder, keys: tcp.test_tls_shows_who_the_client_is(keys),
}


@pytest.mark.parametrize("cell", AIOCOAP_CORE_SERVER, ids=lambda cell: cell.name)
def test_our_coap_client_and_aiocoaps_server_agree(cell: Cell, tmp_path: Path, pki: Any) -> None:
    OF_SERVER[cell.security](tmp_path, pki)


@pytest.mark.parametrize("cell", AIOCOAP_CORE_CLIENT, ids=lambda cell: cell.name)
def test_aiocoaps_client_and_our_coap_server_agree(cell: Cell, tmp_path: Path, pki: Any) -> None:
    OF_CLIENT[cell.security](tmp_path, pki)
