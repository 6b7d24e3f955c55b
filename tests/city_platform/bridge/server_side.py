"""What an LwM2M server says on its data interface, as bytes, for tests of the bridge's core."""

from __future__ import annotations

import msgspec

from city_platform.bridge.config import Limits
from city_platform.bridge.core import BridgeCore
from city_platform.bridge.publications import Publication
from contracts.credentials import (
    BrokerCredentials,
    CredentialsDocument,
    SealedCredentials,
)
from contracts.credentials import Publication as Stream
from contracts.data_interface import (
    Ack,
    Command,
    Event,
    EventKind,
    Hello,
    ObjectLink,
    Outcome,
    Registration,
    Result,
    Resume,
    Security,
    Snapshot,
    decode_bridge_frame,
    encode,
)
from contracts.data_interface import Limits as ServerLimits
from contracts.topics import Topics

SERVER = "north"
LAMP = "lamp-1"
CREDENTIALS = f"lwm2m/{SERVER}/{LAMP}/credentials"
EPOCH = "epoch-1"
NOW_US = 1_780_000_000_000_000
KEY = b"\x00secret key of the device\xff"


def registration(
    endpoint: str, number: int = 1, links: tuple[str, ...] = ("/1/0",)
) -> Registration:
    """A registration with id `<endpoint>-<number>`."""
    return Registration(
        registration_id=f"{endpoint}-{number}",
        endpoint=endpoint,
        lifetime_s=300,
        lwm2m_version="1.1",
        binding="U",
        queue_mode=False,
        object_links=[ObjectLink(path) for path in links],
        address="127.0.0.1:5683",
        security=Security("psk", endpoint),
        registered_at_us=NOW_US,
    )


def hello(server: str = SERVER, epoch: str = EPOCH, newest: int = 0) -> bytes:
    limits = ServerLimits(commands_queued_max=9, commands_per_device_max=9, frame_bytes_max=9999)
    return encode(Hello(server=server, epoch=epoch, oldest=1, newest=newest, limits=limits))


def snapshot(*held: Registration, as_of: int = 0, last: bool = True, epoch: str = EPOCH) -> bytes:
    return encode(Snapshot(epoch=epoch, as_of=as_of, registrations=list(held), last=last))


def event(
    seq: int,
    endpoint: str,
    kind: EventKind = "notification",
    *,
    epoch: str = EPOCH,
    registered: Registration | None = None,
    registration_id: str | None = None,
    result: Outcome | None = None,
) -> bytes:
    return encode(
        Event(
            server=SERVER,
            epoch=epoch,
            seq=seq,
            kind=kind,
            endpoint=endpoint,
            at_us=NOW_US,
            registration=registered,
            registration_id=registered.registration_id if registered else registration_id,
            result=result,
        )
    )


def stored_result(endpoint: str, outcome: Outcome) -> bytes:
    return encode(Result(server=SERVER, endpoint=endpoint, result=outcome))


def document(endpoint: str, version: str = "v1", instances: tuple[int, ...] = (0,)) -> bytes:
    """A credentials file. In these tests it is its own sealed form."""
    broker = BrokerCredentials(
        uri="mqtts://127.0.0.1:8883",
        client_id=endpoint,
        certificate=b"certificate",
        ca_certificate=b"ca",
        secret_key=KEY,
    )
    streams = [
        Stream(instance=number, source="</3416>", topic=f"devices/{endpoint}/state")
        for number in instances
    ]
    return msgspec.json.encode(
        CredentialsDocument(endpoint=endpoint, version=version, broker=broker, publications=streams)
    )


def sealed(
    endpoint: str,
    number: int = 1,
    *,
    server: str = SERVER,
    version: str = "v1",
    content: bytes | None = None,
    instances: tuple[int, ...] = (0,),
) -> bytes:
    inside = content if content is not None else document(endpoint, version, instances)
    return encode(
        SealedCredentials(
            endpoint=endpoint,
            server=server,
            registration_id=f"{endpoint}-{number}",
            version=version,
            sealed=inside.decode(),
        )
    )


def make_core(**limits: float) -> BridgeCore:
    """A bridge whose seals are transparent; the seal itself has tests of its own."""
    return BridgeCore(SERVER, Topics(), str.encode, msgspec.convert(limits, Limits, strict=False))


def connect(core: BridgeCore, *held: Registration, as_of: int = 0) -> None:
    """Bring the core to LIVE by a snapshot, and acknowledge what that published."""
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(*held, as_of=as_of), NOW_US)
    core.frames_to_send()
    for publication in drain(core):
        core.publication_acknowledged(publication.token)


def drain(core: BridgeCore) -> list[Publication]:
    return core.publications_to_send(1_000_000, NOW_US)


def sent(core: BridgeCore) -> list[Resume | Ack | Command]:
    """The frames that the bridge has for its server, decoded."""
    return [decode_bridge_frame(frame) for frame in core.frames_to_send()]  # type: ignore[misc]  # never a Cancel


def commands(core: BridgeCore) -> list[Command]:
    return [frame for frame in sent(core) if isinstance(frame, Command)]


def answer(core: BridgeCore, seq: int, command: Command, code: str = "2.04") -> None:
    """The device answered a command: its outcome comes as an event."""
    outcome = Outcome(id=command.id, operation=command.operation, code=code)
    core.receive_frame(event(seq, command.endpoint, "result", result=outcome), NOW_US)
