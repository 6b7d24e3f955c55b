"""What an installation learns after its first start: where its broker and its LwM2M server are."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from contracts.api import Settings
from runtime.files import write_atomically

# A name or an IPv4 address, or an IPv6 address in brackets (RFC 3986 §3.2.2).
_HOST = r"([A-Za-z0-9][A-Za-z0-9.\-]*|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\])"
_BROKER_URI = re.compile(rf"mqtts?://{_HOST}:(?P<port>\d{{1,5}})", re.ASCII)
_ADDRESS = re.compile(rf"{_HOST}:(?P<port>\d{{1,5}})", re.ASCII)
_PORT_MAX = 65_535

_FORMS = {
    "broker_uri": (_BROKER_URI, "must be such as mqtts://127.0.0.1:8883"),
    "security_api": (_ADDRESS, "must be host:port"),
    "bootstrap_api": (_ADDRESS, "must be host:port"),
}


class InvalidSetting(ValueError):
    """A setting has not the form that it must have."""


class SettingsFile:
    """The settings in force. Those set over HTTP win over the configuration and are kept in a file.

    Raises `InvalidSetting` when the configuration's are wrong.
    """

    def __init__(self, path: Path, configured: Settings) -> None:
        _check(configured)
        self._path = path
        self.now = configured
        if path.exists():
            self.now = _merged(configured, msgspec.json.decode(path.read_bytes(), type=Settings))

    def update(self, wanted: Settings) -> Settings:
        """Set and keep what is not None; returns all settings. Raises `InvalidSetting`."""
        _check(wanted)
        self.now = _merged(self.now, wanted)
        write_atomically(self._path, msgspec.json.encode(self.now), sync=True)
        return self.now


def _merged(before: Settings, wanted: Settings) -> Settings:
    return Settings(
        broker_uri=wanted.broker_uri or before.broker_uri,
        security_api=wanted.security_api or before.security_api,
        bootstrap_api=wanted.bootstrap_api or before.bootstrap_api,
    )


def _check(settings: Settings) -> None:
    for name, (form, expected) in _FORMS.items():
        value = getattr(settings, name)
        if value is None:
            continue
        found = form.fullmatch(value)
        if found is None or not 0 < int(found["port"]) <= _PORT_MAX:
            raise InvalidSetting(f"{name} {expected}, the port from 1 to {_PORT_MAX}")
