"""A device's firmware update (object 5): packages come in, are checked, installed and reported.

It knows states and times. Fetching, rebooting and registering are the caller's, who tells what
became of them; failures that a test wants happen by configuration.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Final, Literal

import msgspec

from lwm2m.errors import DamagedPackage, IllegalTransition, InvalidValue, MalformedPackage
from lwm2m.firmware.download import PROTOCOLS, FirmwareUri
from lwm2m.firmware.package import decode_package
from lwm2m.firmware.states import (
    FIRMWARE_TRANSITIONS,
    STATE_NUMBERS,
    FirmwareEvent,
    FirmwareResult,
    FirmwareState,
)
from lwm2m.objects import Value

FirmwareFault = Literal[
    "not_enough_flash",
    "out_of_ram",
    "connection_lost",
    "integrity_failed",
    "unsupported_package",
    "invalid_uri",
    "update_failed",
    "update_failed_package_lost",
    "unsupported_protocol",
    "deferred",
]
# What fails while a package arrives, and with which result.
_DOWNLOAD_FAULTS: Final[dict[str, FirmwareResult]] = {
    "not_enough_flash": FirmwareResult.NOT_ENOUGH_FLASH,
    "out_of_ram": FirmwareResult.OUT_OF_RAM,
    "connection_lost": FirmwareResult.CONNECTION_LOST,
    "integrity_failed": FirmwareResult.INTEGRITY_FAILED,
    "unsupported_package": FirmwareResult.UNSUPPORTED_PACKAGE,
    "invalid_uri": FirmwareResult.INVALID_URI,
    "unsupported_protocol": FirmwareResult.UNSUPPORTED_PROTOCOL,
}
# Faults that only a fetched package can have.
_PULL_FAULTS: Final = frozenset({"connection_lost", "invalid_uri", "unsupported_protocol"})
# ETS 755: one NUL byte as package resets, as an empty URI does.
_NUL: Final = (b"", b"\0")


class FirmwareAction(enum.StrEnum):
    """What the device has to do now. `DOWNLOAD` fetches `FirmwareUpdate.uri`."""

    DOWNLOAD = "download"
    STOP_DOWNLOAD = "stop_download"
    REBOOT = "reboot"


class FirmwareSettings(msgspec.Struct, frozen=True):
    """How a device updates, and what goes wrong."""

    # Version of object 5: 1.1 adds Cancel, results 10 and 11, severity and deferral.
    object_version: Literal["1.0", "1.1", "1.2"] = "1.1"
    # The largest package that fits, in bytes; and what fits in memory at once, for a push.
    flash_bytes_max: int = 1_048_576
    ram_bytes_max: int = 262_144
    # The name that a package must have; None takes any.
    package_name: str | None = None
    # /5/0/8: protocols that packages are fetched by.
    protocols: tuple[int, ...] = (PROTOCOLS["coap"], PROTOCOLS["coaps"])
    # Seconds to check a package, and to install it.
    verify_s: float = 0.5
    install_s: float = 5.0
    # How often a broken connection is tried again, and the pause before it in seconds.
    attempts: int = 5
    attempt_pause_s: float = 5.0
    # What goes wrong; None: nothing.
    fault: FirmwareFault | None = None


class FirmwareUpdate:
    """One device's firmware update, as a state machine.

    Methods return what is to be done now, or None; requests that the state does not allow raise
    `IllegalTransition` (4.05). `now` is seconds of the caller's clock.
    """

    __slots__ = (
        "_arrived",
        "_due_at",
        "_failures",
        "_is_rebooting",
        "_settings",
        "package_name",
        "package_version",
        "result",
        "state",
        "uri",
    )

    def __init__(self, settings: FirmwareSettings) -> None:
        self._settings = settings
        self.state = FirmwareState.IDLE
        self.result = FirmwareResult.INITIAL
        self.uri: FirmwareUri | None = None
        self.package_name = ""
        self.package_version = ""
        # Of the package that is being checked.
        self._arrived: bytes | None = None
        self._due_at: float | None = None
        self._failures = 0
        self._is_rebooting = False

    def values(self) -> dict[int, Value]:
        """What the resources of /5/0 that only the device writes are now."""
        return {
            3: STATE_NUMBERS[self.state],
            5: int(self.result),
            6: self.package_name,
            7: self.package_version,
        }

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next."""
        return self._due_at

    # ---- what a server wants ----

    def write_package(self, package: bytes, now: float) -> FirmwareAction | None:
        """/5/0/0 was written: a push, or the NUL that resets."""
        if package in _NUL:
            return self._reset(FirmwareEvent.RESET)
        self._move(FirmwareEvent.DOWNLOAD_BEGAN)
        if len(package) > self._settings.ram_bytes_max:
            return self._fail(FirmwareResult.OUT_OF_RAM)
        return self._check_later(package, now, self._fault(without=_PULL_FAULTS))

    def write_uri(self, uri: str, now: float) -> FirmwareAction | None:
        """/5/0/1 was written: a pull, or the empty text that resets."""
        if not uri:
            return self._reset(FirmwareEvent.RESET)
        self._move(FirmwareEvent.DOWNLOAD_BEGAN)
        try:
            self.uri = FirmwareUri(uri)
        except InvalidValue:
            return self._fail(FirmwareResult.INVALID_URI)
        if PROTOCOLS[self.uri.scheme] not in self._settings.protocols:
            return self._fail(FirmwareResult.UNSUPPORTED_PROTOCOL)
        self._failures = 0
        return FirmwareAction.DOWNLOAD

    def update(self, now: float, *, defer_s_max: int = 0) -> FirmwareAction | None:
        """/5/0/2 was executed. `defer_s_max` is /5/0/13: 0 allows no deferral."""
        defers = self._settings.fault == "deferred" and self._settings.object_version != "1.0"
        if defers and defer_s_max > 0 and self.result is not FirmwareResult.DEFERRED:
            self._move(FirmwareEvent.UPDATE_DEFERRED)
            self._due_at = now + defer_s_max
            return None
        self._move(FirmwareEvent.UPDATE_REQUESTED)
        self._due_at = now + self._settings.install_s
        return None

    def cancel(self) -> FirmwareAction | None:
        """/5/0/10 was executed; version 1.0 of the object has no such resource."""
        if self._settings.object_version == "1.0":
            raise IllegalTransition(self.state, FirmwareEvent.CANCELLED)
        return self._reset(FirmwareEvent.CANCELLED)

    # ---- what became of the actions ----

    def downloaded(self, package: bytes, now: float) -> FirmwareAction | None:
        """The package that `DOWNLOAD` asked for is there. Too late after a reset or a cancel."""
        if self.uri is not None and self.state is FirmwareState.DOWNLOADING:
            return self._check_later(package, now, self._fault(without=()))
        return None

    def download_failed(self, result: FirmwareResult, now: float) -> FirmwareAction | None:
        """It cannot be had. A lost connection is tried again, and the download resumed."""
        if self.uri is None or self.state is not FirmwareState.DOWNLOADING:
            return None
        self._failures += 1
        is_final = self._failures >= self._settings.attempts
        if result is FirmwareResult.CONNECTION_LOST and not is_final:
            self._due_at = now + self._settings.attempt_pause_s
            return None
        return self._fail(result)

    def block_taken(self, taken_bytes: int) -> FirmwareAction | None:
        """So much of the package is there: stop when it cannot fit."""
        self._failures = 0
        if taken_bytes > self._settings.flash_bytes_max:
            self._fail(FirmwareResult.NOT_ENOUGH_FLASH)
            return FirmwareAction.STOP_DOWNLOAD
        return None

    def registered(self) -> str | None:
        """The device registered with a server; after an update's reboot the new version."""
        if not self._is_rebooting:
            return None
        version = self.package_version
        self._move(FirmwareEvent.UPDATE_SUCCEEDED)
        self._forget()
        return version

    def handle_timer(self, now: float) -> FirmwareAction | None:
        """A wait is over."""
        if self._due_at is None or now < self._due_at:
            return None
        self._due_at = None
        if self.state is FirmwareState.UPDATING:
            return self._installed()
        if self.state is FirmwareState.DOWNLOADED:
            # /5/0/13: who deferred for so long is asked no more.
            return self.update(now)
        if self._arrived is None:
            return FirmwareAction.DOWNLOAD
        self._check(self._arrived)
        return None

    # ---- inside ----

    def _fault(self, *, without: Collection[str]) -> FirmwareResult | None:
        fault = self._settings.fault
        return None if fault is None or fault in without else _DOWNLOAD_FAULTS.get(fault)

    def _check_later(
        self, package: bytes, now: float, fault: FirmwareResult | None
    ) -> FirmwareAction | None:
        if fault is not None:
            return self._fail(fault)
        if len(package) > self._settings.flash_bytes_max:
            return self._fail(FirmwareResult.NOT_ENOUGH_FLASH)
        self._arrived = package
        self._due_at = now + self._settings.verify_s
        return None

    def _check(self, data: bytes) -> None:
        self._arrived = None
        try:
            package = decode_package(data)
        except DamagedPackage:
            self._fail(FirmwareResult.INTEGRITY_FAILED)
        except MalformedPackage:
            self._fail(FirmwareResult.UNSUPPORTED_PACKAGE)
        else:
            if self._settings.package_name not in (None, package.name):
                self._fail(FirmwareResult.UNSUPPORTED_PACKAGE)
                return
            self._move(FirmwareEvent.PACKAGE_TAKEN)
            self.package_name, self.package_version = package.name, package.version

    def _installed(self) -> FirmwareAction | None:
        if self._settings.fault == "update_failed":
            self._move(FirmwareEvent.UPDATE_FAILED)
            return None
        if self._settings.fault == "update_failed_package_lost":
            self._move(FirmwareEvent.PACKAGE_LOST)
            self._forget()
            return None
        self._is_rebooting = True
        return FirmwareAction.REBOOT

    def _reset(self, event: FirmwareEvent) -> FirmwareAction | None:
        was_downloading = self.state is FirmwareState.DOWNLOADING and self.uri is not None
        self._move(event)
        self._forget()
        return FirmwareAction.STOP_DOWNLOAD if was_downloading else None

    def _fail(self, result: FirmwareResult) -> FirmwareAction | None:
        self._move(FirmwareEvent.DOWNLOAD_FAILED)
        self._forget()
        self.result = result
        return None

    def _forget(self) -> None:
        self.uri = self._arrived = self._due_at = None
        self.package_name = self.package_version = ""
        self._is_rebooting = False

    def _move(self, event: FirmwareEvent) -> None:
        step = FIRMWARE_TRANSITIONS[self.state][event]
        if step is None:
            raise IllegalTransition(self.state, event)
        self.state, self._due_at = step.state, None
        if step.result is not None:
            self.result = step.result
