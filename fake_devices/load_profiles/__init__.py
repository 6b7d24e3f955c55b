"""Load profiles: what is meant to happen when, as pure functions of a profile and a seed."""

from fake_devices.load_profiles.profile import (
    KINDS,
    WHOLE,
    IllegalProfile,
    LoadKind,
    LoadProfile,
    Share,
)
from fake_devices.load_profiles.reading import parse_profile, read_arrivals, read_profile
from fake_devices.load_profiles.shapes import (
    SHAPES,
    Bursts,
    Constant,
    Phase,
    Poisson,
    PowerCut,
    Ramp,
    ReconnectPhase,
    Replay,
    Spacing,
    Steps,
    Wave,
)

__all__ = [
    "KINDS",
    "SHAPES",
    "WHOLE",
    "Bursts",
    "Constant",
    "IllegalProfile",
    "LoadKind",
    "LoadProfile",
    "Phase",
    "Poisson",
    "PowerCut",
    "Ramp",
    "ReconnectPhase",
    "Replay",
    "Share",
    "Spacing",
    "Steps",
    "Wave",
    "parse_profile",
    "read_arrivals",
    "read_profile",
]
