"""What every test of the server leaves behind is let go of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.lwm2m_server.world import OPEN_LOGS


@pytest.fixture(autouse=True)
def _closed_logs() -> Iterator[None]:
    yield
    while OPEN_LOGS:
        OPEN_LOGS.pop().close()
