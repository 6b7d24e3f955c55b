"""The exchanges of the device contract, each a little story that a `Site` plays."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from contracts.credentials import CERTIFICATE_USAGE_TRUST_ANCHOR, SECURITY_MODE_CERTIFICATE
from contracts.data_interface import Value, ValueType
from harness.bootstrap_server.entries import AccountEntry, BootstrapEntry
from harness.device_contract.credentials import ENDPOINT, MadeCredentials
from harness.device_contract.site import SERVER_URI, Site
from lwm2m.coap import Message, codes, encode_message, options
from lwm2m.coap.message import CON
from lwm2m.codecs import content_formats

Play = Callable[[Site, MadeCredentials], None]


class Exchange(NamedTuple):
    """One file of vectors: its name, what it shows, and the story; `settings` are the device's."""

    name: str
    about: str
    play: Play
    settings: Mapping[str, object] = {}
    entry: BootstrapEntry | None = None


def _broker(certificate: bytes, secret_key: bytes, authority: bytes) -> list[Value]:
    rows: tuple[tuple[int, ValueType, str | int | bool], ...] = (
        (0, "string", "mqtts://192.0.2.3:8883"),
        (1, "string", ENDPOINT),
        (2, "boolean", True),
        (3, "unsigned", 60),
        (6, "integer", SECURITY_MODE_CERTIFICATE),
        (7, "opaque", base64.b64encode(certificate).decode()),
        (8, "opaque", base64.b64encode(authority).decode()),
        (9, "opaque", base64.b64encode(secret_key).decode()),
        (10, "integer", CERTIFICATE_USAGE_TRUST_ANCHOR),
    )
    return [Value(f"/18830/0/{number}", kind, value) for number, kind, value in rows]


def _publication(number: int, stream: str, *, is_active: bool = False) -> list[Value]:
    rows: tuple[tuple[int, ValueType, str | int | bool], ...] = (
        (0, "corelnk", "</3303/0>,</3311/0>"),
        (1, "objlnk", "18830:0"),
        (2, "string", f"devices/{ENDPOINT}/{stream}"),
        (3, "unsigned", 1),
        (4, "boolean", False),
        (5, "boolean", is_active),
        (6, "unsigned", content_formats.SENML_CBOR),
    )
    return [Value(f"/18831/{number}/{each}", kind, value) for each, kind, value in rows]


def _activate(site: Site, number: int) -> None:
    path = f"/18831/{number}/5"
    site.command("write", path, values=[Value(path, "boolean", True)])


def _register(site: Site, made: MadeCredentials) -> None:
    site.start()


def _update(site: Site, made: MadeCredentials) -> None:
    site.start()
    # The Update comes 93 s before the lifetime of 300 s ends.
    site.run(210)


def _register_anew(site: Site, made: MadeCredentials) -> None:
    site.start()
    site.restart_server()
    site.run(210)


def _take_account(site: Site, made: MadeCredentials) -> None:
    site.start()
    broker = _broker(made.certificate, made.secret_key, made.authority)
    site.command("create", "/18830/0", values=broker)
    for number, stream in enumerate(("state", "alarm")):
        site.command("create", f"/18831/{number}", values=_publication(number, stream))
    for number in range(2):
        _activate(site, number)
    site.run(3)


def _take_account_at_once(site: Site, made: MadeCredentials) -> None:
    site.start()
    broker = _broker(made.certificate, made.secret_key, made.authority)
    site.command("create", "/18830/0", values=broker)
    values = [
        *_publication(0, "state", is_active=True), *_publication(1, "alarm", is_active=True)
    ]  # fmt: skip
    site.command("create", "/18831", values=values)
    site.run(3)


def _renew(site: Site, made: MadeCredentials) -> None:
    _take_account(site, made)
    broker = _broker(made.renewed_certificate, made.renewed_secret_key, made.authority)
    site.command("write", "/18830/0", values=broker)
    site.command("write", "/18831/0", values=_publication(0, "state"))
    site.command("delete", "/18831/1")
    _activate(site, 0)
    site.run(3)


def _take_back(site: Site, made: MadeCredentials) -> None:
    _take_account(site, made)
    for path in ("/18831/0", "/18831/1", "/18830/0"):
        site.command("delete", path)
    site.run(3)


def _manage(site: Site, made: MadeCredentials) -> None:
    site.start()
    site.command("read", "/3303/0")
    site.command("read", "/3303/0/5700", format=content_formats.TEXT)
    site.command("read", "/3/0", format=content_formats.TLV)
    site.command("discover", "/3303/0")
    dimmer = "/3311/0/5851"
    site.command("write", dimmer, values=[Value(dimmer, "integer", 80)])
    site.command("write", "/3311/0", mode="update", values=[Value("/3311/0/5850", "boolean", True)])
    site.command("execute", "/3303/0/5605", arguments="0='all'")


def _refuse(site: Site, made: MadeCredentials) -> None:
    site.start()
    text = ((options.CONTENT_FORMAT, b""),)
    cbor = ((options.CONTENT_FORMAT, bytes([content_formats.SENML_CBOR])),)
    requests: list[tuple[int, str, tuple[tuple[int, bytes], ...], bytes]] = [
        (codes.GET, "/3304/0", (), b""),
        (codes.GET, "/3303/7", (), b""),
        (codes.PUT, "/3303/0/5700", text, b"30"),
        (codes.POST, "/3303/0/5700", (), b""),
        (codes.DELETE, "/3303/0", (), b""),
        (codes.GET, "/0/0", (), b""),
        (codes.PUT, "/3311/0/5851", text, b"bright"),
        (codes.PUT, "/3311/0/5851", text, b"101"),
        (codes.PUT, "/3311/0", cbor, b"\xff"),
        (codes.PUT, "/3311/0/5851", ((options.CONTENT_FORMAT, b"\x32"),), b"40"),
        (codes.GET, "/3303/0", ((options.ACCEPT, b"\x32"),), b""),
        (codes.GET, "/3303/0", ((65_001, b"?"),), b""),
    ]
    for number, request in enumerate(requests):
        site.inject(_raw(number, *request))


def _raw(
    number: int, code: int, path: str, more: tuple[tuple[int, bytes], ...], payload: bytes
) -> bytes:
    segments = tuple((options.URI_PATH, each.encode()) for each in path.split("/")[1:])
    ordered = tuple(sorted((*segments, *more), key=lambda option: option[0]))
    return encode_message(Message(CON, code, 0x7000 + number, bytes([number]), ordered, payload))


def _repeat(site: Site, made: MadeCredentials) -> None:
    site.start()
    site.command("create", "/18831/0", values=_publication(0, "state"))
    created = next(step.data for step in site.steps if "POST /18831" in step.meaning[0])
    # The acknowledgement was lost, and the server's retransmission comes twice.
    site.inject(created)
    site.inject(created)
    site.command("read", "/18831")


def _blocks(site: Site, made: MadeCredentials) -> None:
    site.start()
    broker = _broker(made.large_certificate, made.secret_key, made.authority)
    site.command("create", "/18830/0", values=broker)


def _observe(site: Site, made: MadeCredentials) -> None:
    site.start()
    dimmer = "/3311/0/5851"
    site.command("write_attributes", dimmer, attributes={"pmin": "2", "pmax": "10"})
    site.command("observe", dimmer)
    site.command("write", dimmer, values=[Value(dimmer, "integer", 70)])
    # Within pmin of the last notification: it waits. Then nothing changes for pmax.
    site.command("write", dimmer, values=[Value(dimmer, "integer", 71)])
    site.run(16)
    site.command("cancel_observation", dimmer)
    site.command("write", dimmer, values=[Value(dimmer, "integer", 72)])


def _bootstrap(site: Site, made: MadeCredentials) -> None:
    site.start()
    site.run(3)


def _sleep(site: Site, made: MadeCredentials) -> None:
    site.start()
    # It listens for 93 s after it spoke. What the server wants then waits for the Update.
    site.run(100)
    site.command("read", "/3303/0/5700")
    site.run(110)


_ENTRY: Final = BootstrapEntry(
    endpoint=ENDPOINT,
    accounts=[AccountEntry(short_server_id=101, uri=SERVER_URI, lifetime_s=300)],
)
EXCHANGES: Final = (
    Exchange("register", "Register with the object list; 2.01 and the location", _register),
    Exchange("update", "an Update before the lifetime ends", _update),
    Exchange(
        "register_anew", "an Update that is answered 4.04, and the new Register", _register_anew
    ),
    Exchange(
        "credentials_created",
        "the MQTT account: broker and publications created, *Active* written last, and the Update "
        "with the new object list",
        _take_account,
    ),
    Exchange(
        "credentials_renewed",
        "a renewed certificate: written, one publication deleted, the other active again",
        _renew,
    ),
    Exchange("credentials_deleted", "the account is taken back", _take_back),
    Exchange(
        "management", "Read in three formats, Discover, Write (replace and partial), Execute",
        _manage,
    ),
    Exchange("refusals", "one request for each line of [section 6](#6-what-is-answered)", _refuse),
    Exchange("duplicates", "a repeated Create is answered alike and done once", _repeat),
    Exchange("blocks", "a certificate of several blocks (Block1)", _blocks),
    Exchange("observation", "Write-Attributes, Observe, notifications with pmin and pmax, its end",
             _observe),
    Exchange(
        "bootstrap",
        "Bootstrap-Request, Discover, Delete, Write, Finish, and the Register that follows",
        _bootstrap,
        entry=_ENTRY,
    ),
    Exchange("queue_mode", "a sleeping device's command waits for its Update", _sleep,
             settings={"queue_mode": True}),
    Exchange(
        "credentials_created_at_once",
        "the MQTT account with all publications in one Create, active at once",
        _take_account_at_once,
    ),
)  # fmt: skip
