"""What a device wants done: the fleet carries it out and tells the device what came of it."""

from __future__ import annotations

from enum import Enum

import msgspec

from fake_devices.device.account import BrokerAccount
from fake_devices.device.outbox import Pack
from lwm2m.bootstrap import ServerAccount
from lwm2m.coap.requests import Request, Response


class Purpose(Enum):
    """What a request of the device is for."""

    REGISTRATION = "registration"
    BOOTSTRAP = "bootstrap"
    BOOTSTRAP_PACK = "bootstrap_pack"
    SEND = "send"
    FIRMWARE = "firmware"


class SendRequest(msgspec.Struct, frozen=True, gc=False):
    """Send a request to the server of `account`; answer with `response_received` or
    `exchange_failed`, giving this action back. `at_s`: when a registration's was made, monotonic.
    """

    request: Request
    account: ServerAccount
    purpose: Purpose = Purpose.REGISTRATION
    at_s: float = 0.0


class Notify(msgspec.Struct, frozen=True, gc=False):
    """Notify the observer of `exchange`; an exchange that ends is told by `observation_ended`."""

    exchange: int
    response: Response
    confirmable: bool = False


class EndExchange(msgspec.Struct, frozen=True, gc=False):
    """Forget the observation of `exchange`: nothing will be sent on it any more."""

    exchange: int


class OpenUplink(msgspec.Struct, frozen=True):
    """Connect to a broker; answer with `uplink_connected` or `uplink_lost`.

    With `renews_session` the packs in flight belong to nobody any more: the device publishes them
    anew. Otherwise the MQTT session goes on and repeats them with DUP. `boot`, `connection` and
    `began_us` name the connection in what the device says of its presence.
    """

    account: BrokerAccount
    renews_session: bool
    boot: str = ""
    connection: int = 0
    began_us: int = 0


class CloseUplink(msgspec.Struct, frozen=True, gc=False):
    """Disconnect, and report nothing more about that connection."""


class PublishPack(msgspec.Struct, frozen=True, gc=False):
    """Publish a pack on the connection that is there; answer with `pack_acknowledged`."""

    pack: Pack


Action = SendRequest | Notify | EndExchange | OpenUplink | CloseUplink | PublishPack
