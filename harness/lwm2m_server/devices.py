"""A registered device as the rest of the server sees it: its registration and where it is."""

from __future__ import annotations

from typing import Protocol

from contracts.data_interface import Registration

Address = tuple[str, int]


class Device:
    """One registration. `peer` is where requests to the device go."""

    __slots__ = ("peer", "registration", "renewed_at_us")

    def __init__(self, registration: Registration, peer: Address, renewed_at_us: int) -> None:
        self.registration = registration
        self.peer = peer
        self.renewed_at_us = renewed_at_us


class Devices(Protocol):
    """Who is registered."""

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""


def address_text(address: Address) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """What `address_text` wrote. Raises `ValueError` for another text."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
