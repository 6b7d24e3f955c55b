"""The resources that raise and clear alarms by themselves: read from a table that is data."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import msgspec

from city_platform.stores.alarm_states import AlarmSignal

# By object and resource.
Signals = Mapping[tuple[int, int], AlarmSignal]


class SignalsError(ValueError):
    """A signals file cannot be used; the text says where and why."""


class _SignalSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signals: list[AlarmSignal]


def load_signals(path: str | None) -> Signals:
    """The signals of a TOML file, or with None those of the package. Raises `SignalsError`."""
    if path is None:
        return read_signals(
            (files("city_platform.ingestion") / "signals.toml").read_bytes(), "signals.toml"
        )
    try:
        return read_signals(Path(path).read_bytes(), path)
    except OSError as error:
        raise SignalsError(f"{path}: {error.strerror}") from None


def read_signals(data: bytes, name: str) -> Signals:
    """The signals of a TOML text that is called `name`. Raises `SignalsError`."""
    try:
        found = msgspec.toml.decode(data, type=_SignalSet).signals
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignalsError(f"{name}: {error}") from None
    signals: dict[tuple[int, int], AlarmSignal] = {}
    for signal in found:
        key = (signal.object, signal.resource)
        if key in signals:
            raise SignalsError(f"{name}: /{key[0]}/x/{key[1]} is there twice: leave one")
        signals[key] = signal
    return signals
