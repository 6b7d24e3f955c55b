"""How readings and alarms travel: names, extension fields of our packs, identity of a reading.

A pack is SenML CBOR (RFC 8428). Its base name is `<endpoint>/`, record names are paths without
a leading slash (`3416/0/3`), so that the resolved name begins as §4.5.1 asks. Times are absolute
Unix seconds with microsecond resolution. The first record carries, beside the base fields:

| key    | type | meaning |
|--------|------|---------|
| `seq`  | int  | pack number, from 1, per device and boot |
| `boot` | str  | boot id, new at every start of the device |

An alarm pack (topic `devices/{endpoint}/alarm`) has one record per alarm: the name is the source
path, `vb` is true when raised and false when cleared, and these text keys go along:

| key         | type  | meaning |
|-------------|-------|---------|
| `alarm`     | str   | alarm type, such as `lamp_failure` |
| `severity`  | str   | `minor`, `major` or `critical` |
| `aseq`      | int   | alarm number, from 1, per device and boot |
| `value`     | float | the value that crossed (optional) |
| `threshold` | float | what it crossed (optional) |

Text keys without a trailing underscore may be ignored by who does not know them (§4.4).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

KEY_SEQUENCE: Final = "seq"
KEY_BOOT: Final = "boot"
KEY_ALARM: Final = "alarm"
KEY_SEVERITY: Final = "severity"
KEY_ALARM_SEQUENCE: Final = "aseq"
KEY_VALUE: Final = "value"
KEY_THRESHOLD: Final = "threshold"

Severity = Literal["minor", "major", "critical"]
ReadingValue = float | int | bool | str
"""Opaque values are base64 text here."""


class ReadingKey(NamedTuple):
    """What makes a reading the same reading. `path` has its leading slash: `/3416/0/3`."""

    endpoint: str
    path: str
    time_us: int


class Reading(NamedTuple):
    """One value of one resource at one device time (microseconds since 1970, rounded)."""

    endpoint: str
    path: str
    time_us: int
    value: ReadingValue


class Alarm(NamedTuple):
    """One raising or clearing of an alarm."""

    endpoint: str
    path: str
    time_us: int
    alarm: str
    raised: bool
    severity: Severity
    sequence: int
    value: float | None = None
    threshold: float | None = None


def base_name(endpoint: str) -> str:
    """The SenML base name of a device's packs."""
    return f"{endpoint}/"


# LwM2M unit -> (SenML unit, factor): OMA units that are not SenML's own must not be copied into
# `u` (RFC 8798 §2). A value is multiplied by `factor` on its way into a pack. `None`: no unit.
SENML_UNITS: Final[dict[str, tuple[str | None, float]]] = {
    "": (None, 1.0),
    "/100": ("/", 0.01),
    "A": ("A", 1.0),
    "Ah": ("C", 3600.0),
    "B": ("B", 1.0),
    "B/s": ("bit/s", 8.0),
    "Cel": ("Cel", 1.0),
    "Hz": ("Hz", 1.0),
    "K": ("K", 1.0),
    "NTU": ("NTU", 1.0),
    "Pa": ("Pa", 1.0),
    "S/m": ("S/m", 1.0),
    "V": ("V", 1.0),
    "VA": ("VA", 1.0),
    "VAh": ("VAs", 3600.0),
    "W": ("W", 1.0),
    "Wh": ("J", 3600.0),
    "Ws": ("J", 1.0),
    "cm": ("m", 0.01),
    "dB": ("dB", 1.0),
    "dBm": ("dBW", 1.0),
    "deg": ("deg", 1.0),
    "h": ("s", 3600.0),
    "kWh": ("J", 3_600_000.0),
    "lat": ("lat", 1.0),
    "lm": ("lm", 1.0),
    "lon": ("lon", 1.0),
    "lx": ("lx", 1.0),
    "m": ("m", 1.0),
    "m/s": ("m/s", 1.0),
    "m3": ("m3", 1.0),
    "m3/s": ("m3/s", 1.0),
    "mg/l": ("kg/m3", 0.001),
    "min": ("s", 60.0),
    "ms": ("s", 0.001),
    "ppm": ("/", 0.000_001),
    # Of salinity: parts per thousand.
    "ppt": ("/", 0.001),
    "rad": ("rad", 1.0),
    "s": ("s", 1.0),
    "ug/m3": ("kg/m3", 0.000_000_001),
    "var": ("var", 1.0),
    "varh": ("vars", 3600.0),
}
# dBm -> dBW is an offset, not a factor.
SENML_UNIT_OFFSETS: Final[dict[str, float]] = {"dBm": -30.0}
