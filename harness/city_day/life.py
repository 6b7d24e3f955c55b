"""How a city lives, as figures: crews, lorries, cuts, failures. Defaults, or a TOML file's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from harness.errors import ScenarioError

_Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
# Bounded both ways: a day with a report a microsecond would never be worked out.
_Seconds = Annotated[float, Meta(ge=1.0, le=1e6)]
_Litres = Annotated[float, Meta(ge=1.0, le=1e6)]
_Times = Annotated[float, Meta(ge=0.0, le=100.0)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class CityLife(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a day is made of. Defaults are those of a town that works; where they come from is said
    with each."""

    lamp_failure_ratio: _Ratio = 0.004
    """Part of the lamps that fail in a night, most of them when they are lit. Ours: about 1.5 a
    year and lamp, ten times what a luminaire's data sheet says, so that a night shows some."""
    repair_crews: _Count = 2
    """Crews that repair lamps; a failed lamp waits until one is free."""
    crews_begin_hour: Annotated[float, Meta(ge=0.0, lt=24.0)] = 6.0
    """When crews begin to work, hours of the city's clock."""
    crews_end_hour: Annotated[float, Meta(gt=0.0, le=24.0)] = 22.0
    """When they set out for the last time."""
    feeder_lamps: _Count = 60
    """Lamps on one feeder, about: whole streets, one after the other."""
    power_cuts_per_feeder_day: _Times = 0.15
    """Cuts of a feeder in a day. Ours: a town of ten feeders sees one or two."""
    power_cut_mean_s: _Seconds = 900.0
    """Mean length of a cut, never under two minutes, seconds."""
    power_return_within_s: _Seconds = 60.0
    """The lamps of a feeder are back within this, seconds: soft start of their drivers."""
    bin_collected_above_ratio: _Ratio = 0.3
    """A lorry passes by a bin that reported less than this."""
    bins_per_lorry: _Count = 150
    """Bins on one lorry's round."""
    lorry_litres: _Litres = 4_000.0
    """What a lorry holds before it has to be tipped, litres."""
    lorries_begin_hour: Annotated[float, Meta(ge=0.0, lt=24.0)] = 5.0
    """When the rounds begin, hours of the city's clock."""
    parking_demand: _Times = 1.0
    """Drivers looking for a spot, as a multiple of an ordinary day's."""
    overstay_ratio: _Ratio = 0.02
    """Part of the drivers at short-stay bays that stay beyond two hours."""
    lamp_lit_report_every_s: _Seconds = 1_800.0
    """A lit lamp reports this often, seconds."""
    lamp_dark_report_every_s: _Seconds = 7_200.0
    """A dark one likewise."""
    air_report_every_s: _Seconds = 600.0
    """An air monitor reports this often, seconds."""
    meter_report_every_s: _Seconds = 900.0
    """A water meter looks this often, seconds; it reports when water ran."""


def read_life(path: Path) -> CityLife:
    """The figures of a TOML file. Raises `ScenarioError` that names the file and the field."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=CityLife)
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        known = ", ".join(CityLife.__struct_fields__)
        raise ScenarioError(f"{path}: {error}; fields are {known}") from error
