"""What a device wants done: the fleet carries it out and tells the device what came of it."""

from __future__ import annotations

import msgspec

from fake_devices.device.account import BrokerAccount
from fake_devices.device.outbox import Pack
from lwm2m.coap.requests import Request


class SendRequest(msgspec.Struct, frozen=True, gc=False):
    """Send a request to the LwM2M server; answer with `response_received` or `exchange_failed`."""

    request: Request


class OpenUplink(msgspec.Struct, frozen=True):
    """Connect to a broker; answer with `uplink_connected` or `uplink_lost`.

    With `renews_session` the packs in flight belong to nobody any more: the device publishes them
    anew. Otherwise the MQTT session goes on and repeats them with DUP.
    """

    account: BrokerAccount
    renews_session: bool


class CloseUplink(msgspec.Struct, frozen=True, gc=False):
    """Disconnect, and report nothing more about that connection."""


class PublishPack(msgspec.Struct, frozen=True, gc=False):
    """Publish a pack on the connection that is there; answer with `pack_acknowledged`."""

    pack: Pack


Action = SendRequest | OpenUplink | CloseUplink | PublishPack
