"""Whom a fleet's devices speak to: a peer for each device and server."""

from __future__ import annotations

import asyncio

import pytest

from fake_devices.device import ServerAccount
from fake_devices.fleet.addresses import SharedPeers
from fake_devices.fleet.peers import PeerBook, UnusableAddress


def book(*, is_shared: bool = True) -> PeerBook:
    peers = SharedPeers("127.0.0.1", 5683, 2)
    return PeerBook("coap://main:5683", "127.0.0.1", peers, is_shared=is_shared)


def test_the_main_server_has_one_peer_for_each_device():
    peers = book()
    account = ServerAccount(1, "coap://main:5683")
    assert peers.find(1, account) == ("127.16.1.2", "127.0.0.1", 5683)
    assert peers.number_of(("127.16.1.2", "127.0.0.1", 5683)) == 1
    assert peers.has_one_server
    assert not peers.is_secure(peers.peers[0])


def test_another_server_is_a_further_peer_of_the_same_device():
    peers = book()
    account = ServerAccount(2, "coaps://127.0.0.9:7000")
    peer = peers.find(1, account)
    assert peer == ("127.16.1.2", "127.0.0.9", 7000)
    assert (peers.number_of(peer), peers.uri_of(peer)) == (1, "coaps://127.0.0.9:7000")
    assert peers.is_secure(peer)
    assert not peers.has_one_server
    assert peers.account_of(peer) is account


def test_addresses_that_cannot_be_reached_are_told():
    with pytest.raises(UnusableAddress):
        book().find(0, ServerAccount(2, "coap+tcp://127.0.0.1"))
    with pytest.raises(UnusableAddress):
        book().find(0, ServerAccount(2, "coap://192.0.2.1"))
    assert book(is_shared=False).find(0, ServerAccount(2, "coap://192.0.2.1")) is not None


def test_a_name_is_resolved_before_it_is_a_peer():
    peers = book()
    account = ServerAccount(2, "coap://localhost:7000")
    assert peers.find(0, account) is None
    asyncio.run(peers.resolve(account))
    assert peers.find(0, account) is not None


def test_a_name_that_nobody_knows_is_unusable():
    with pytest.raises(UnusableAddress):
        asyncio.run(book().resolve(ServerAccount(2, "coap://nowhere.invalid")))
