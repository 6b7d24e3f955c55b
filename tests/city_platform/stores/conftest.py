"""Every store's contract is tested with each of its kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.city_platform.stores.aws.emulators import CREDENTIALS, HAS_MOTO, moto_server


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a moto server."""
    if not HAS_MOTO:
        pytest.skip("needs the `aws` extra and moto: pip install 'lamplighter[aws,test]'")
    with pytest.MonkeyPatch.context() as patch, moto_server() as url:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield url
