"""Peers of plain links and of security sessions."""

from __future__ import annotations

import pytest

from lwm2m.transport.peers import NOSEC, PeerSecurity, SecurePeer, address_of, security_of


def test_a_session_is_equal_to_nothing_but_itself() -> None:
    security = PeerSecurity("psk", "lamp-7")
    first, second = (SecurePeer("192.0.2.1", 5684, security) for _ in range(2))
    assert first != second
    assert len({first, second}) == 2
    assert not hasattr(first, "__dict__")


def test_addresses_and_security_are_told_of_every_kind_of_peer() -> None:
    security = PeerSecurity("x509", "lamp-7")
    peer = SecurePeer("192.0.2.1", 5684, security, local="127.0.0.9", endpoint_name="lamp-7")
    assert address_of(peer) == ("192.0.2.1", 5684)
    assert security_of(peer) == security
    assert peer.local == "127.0.0.9"
    assert "lamp-7" in repr(peer)
    for plain in (("192.0.2.1", 5683), ("127.0.0.9", "192.0.2.1", 5683)):
        assert address_of(plain) == ("192.0.2.1", 5683)
        assert security_of(plain) == NOSEC


@pytest.mark.parametrize("peer", ["192.0.2.1", ("192.0.2.1",), (1, 2), None])
def test_what_is_no_peer_has_no_address(peer: object) -> None:
    with pytest.raises(TypeError, match="no peer"):
        address_of(peer)
