"""A device's firmware update: object 5 in its tree, and the package on its way to it.

The states are `lwm2m.firmware`'s; here are the resources, and the requests of a download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from contracts.journal import Record
from contracts.load import FirmwareTaken
from fake_devices.device.actions import Purpose, SendRequest
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.bootstrap import ServerAccount
from lwm2m.coap.requests import Response
from lwm2m.errors import IllegalTransition
from lwm2m.firmware import (
    Download,
    FirmwareAction,
    FirmwareResult,
    FirmwareSettings,
    FirmwareUpdate,
)
from lwm2m.objects import ObjectPath

FIRMWARE_OBJECT: Final = 5
FIRMWARE: Final = ObjectPath(FIRMWARE_OBJECT, 0)
PACKAGE, PACKAGE_URI = FIRMWARE.child(0), FIRMWARE.child(1)
UPDATE, CANCEL = FIRMWARE.child(2), FIRMWARE.child(10)
FIRMWARE_VERSION: Final = ObjectPath(3, 0, 3)
_DEFER_S_MAX: Final = FIRMWARE.child(13)
_LAST_CHANGE: Final = FIRMWARE.child(12)
_BOTH_WAYS: Final = 2


def firmware_values(settings: FirmwareSettings) -> Changes:
    """What object 5 holds on a device that was never updated."""
    values: Changes = {
        FIRMWARE.child(number): value for number, value in FirmwareUpdate(settings).values().items()
    }
    for number, protocol in enumerate(settings.protocols):
        values[FIRMWARE.child(8).child(number)] = protocol
    values[FIRMWARE.child(9)] = _BOTH_WAYS
    values[PACKAGE_URI] = ""
    return values


def firmware_executables(settings: FirmwareSettings) -> tuple[ObjectPath, ...]:
    """The resources of object 5 that can be executed."""
    return (UPDATE,) if settings.object_version == "1.0" else (UPDATE, CANCEL)


class Firmware:
    """One device's firmware update; made when a server first turns to object 5."""

    __slots__ = (
        "_account", "_download", "_endpoint", "_record", "_sent", "_to_send", "_update", "_uri",
    )  # fmt: skip

    def __init__(
        self, settings: FirmwareSettings, endpoint: str, record: Callable[[Record], None]
    ) -> None:
        """`record` is told of every package that is whole, of the device `endpoint`."""
        self._endpoint = endpoint
        self._record = record
        self._update = FirmwareUpdate(settings)
        self._download: Download | None = None
        self._account: ServerAccount | None = None
        # /5/0/1 as it was last accepted.
        self._uri = ""
        self._sent: SendRequest | None = None
        self._to_send: SendRequest | None = None

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        return self._update.next_timer()

    def is_due(self, now: float) -> bool:
        """Whether `handle_timer` has something to do."""
        due_at = self._update.next_timer()
        return due_at is not None and due_at <= now

    def take_request(self) -> SendRequest | None:
        """The request for the next block, if one is due."""
        found, self._to_send = self._to_send, None
        return found

    def serve(
        self, tree: ObjectTree, touched: Iterable[ObjectPath], accounts: Iterable[ServerAccount],
        now: float, unix_s: int,
    ) -> bool:  # fmt: skip
        """A server wrote to object 5 or executed something of it; False when that is not allowed
        now (4.05). `accounts` are those whose credentials a download may use."""
        try:
            for path in touched:
                self._do(self._touched(tree, path, now), accounts)
        except IllegalTransition:
            tree.apply({PACKAGE_URI: self._uri})
            return False
        finally:
            # It is W only, and large: what is checked is not kept as a value.
            tree.remove([PACKAGE])
            self._show(tree, unix_s)
        return True

    def handle_timer(self, tree: ObjectTree, now: float, unix_s: int) -> bool:
        """Do what is due; whether the device reboots into the new firmware."""
        action = self._update.handle_timer(now)
        self._do(action, ())
        self._show(tree, unix_s)
        return action is FirmwareAction.REBOOT

    def response_received(
        self, sent: SendRequest, response: Response, tree: ObjectTree, now: float, unix_s: int
    ) -> None:
        """A block came, or a refusal."""
        download = self._download
        if sent is not self._sent or download is None:
            return
        taken = download.take(response)
        if isinstance(taken, FirmwareResult):
            self._do(self._update.download_failed(taken, now), ())
        elif self._update.block_taken(download.taken) is FirmwareAction.STOP_DOWNLOAD:
            self._download = None
        elif taken:
            self._download = None
            self._note(download.body, now)
            self._do(self._update.downloaded(download.body, now), ())
        else:
            self._ask()
        self._show(tree, unix_s)

    def exchange_failed(self, sent: SendRequest, tree: ObjectTree, now: float, unix_s: int) -> None:
        """A block did not come: the download goes on with it after a pause."""
        if sent is self._sent and self._download is not None:
            self._update.download_failed(FirmwareResult.CONNECTION_LOST, now)
            self._show(tree, unix_s)

    def registered(self, tree: ObjectTree, unix_s: int) -> None:
        """The device registered: an update that rebooted it has succeeded."""
        version = self._update.registered()
        if version is not None:
            tree.apply({FIRMWARE_VERSION: version})
            self._show(tree, unix_s)

    # ---- inside ----

    def _touched(self, tree: ObjectTree, path: ObjectPath, now: float) -> FirmwareAction | None:
        if path == PACKAGE:
            written = tree.get(PACKAGE)
            package = written if isinstance(written, bytes) else b""
            action = self._update.write_package(package, now)
            self._note(package, now)
            return action
        if path == PACKAGE_URI:
            value = tree.get(PACKAGE_URI)
            uri = value if isinstance(value, str) else ""
            action = self._update.write_uri(uri, now)
            self._uri = uri
            return action
        if path == UPDATE:
            defer_s_max = tree.get(_DEFER_S_MAX)
            return self._update.update(
                now, defer_s_max=defer_s_max if type(defer_s_max) is int else 0
            )
        return self._update.cancel() if path == CANCEL else None

    def _note(self, package: bytes, now: float) -> None:
        sha256 = hashlib.sha256(package).hexdigest()
        self._record(
            FirmwareTaken(
                at_ns=round(now * 1e9),
                endpoint=self._endpoint,
                package_bytes=len(package),
                sha256=sha256,
            )
        )

    def _do(self, action: FirmwareAction | None, accounts: Iterable[ServerAccount]) -> None:
        if action is FirmwareAction.STOP_DOWNLOAD:
            self._download = self._to_send = None
        elif action is FirmwareAction.DOWNLOAD:
            uri = self._update.uri
            assert uri is not None
            if self._download is None:
                self._download = Download(uri)
                self._account = _account_for(uri.server, accounts)
            self._ask()

    def _ask(self) -> None:
        assert self._download is not None
        assert self._account is not None
        request = self._download.next_request()
        self._sent = self._to_send = SendRequest(request, self._account, Purpose.FIRMWARE)

    def _show(self, tree: ObjectTree, unix_s: int) -> None:
        values: Changes = {
            FIRMWARE.child(number): value for number, value in self._update.values().items()
        }
        is_news = any(tree.get(path) != value for path, value in values.items())
        if is_news and 12 in tree.template.models[FIRMWARE_OBJECT].resources:
            values[_LAST_CHANGE] = unix_s
        if self._update.uri is None and self._download is not None:
            self._download = None
        tree.apply(values)


def _account_for(server: str, accounts: Iterable[ServerAccount]) -> ServerAccount:
    """The credentials for a download: those of the same server, else the first server's."""
    known = list(accounts)
    for account in known:
        if account.uri == server:
            return account
    if server.startswith("coaps") and known:
        first = known[0]
        return ServerAccount(
            None, server, first.security_mode, first.identity, first.key, first.server_key
        )
    return ServerAccount(None, server)
