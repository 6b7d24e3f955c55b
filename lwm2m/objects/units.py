"""The units that definitions name: SenML's, SenML's secondary ones, and what the registry adds.

Names only. What a unit is worth in another is not needed here (RFC 8798 has the table).
"""

from __future__ import annotations

_SENML = """
    m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s
    m/s2 m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min
    beat/min beats S/m B VA VAs var vars J/m kg/m3 deg NTU
"""
_SECONDARY = """
    ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3
    mm/h m/h ppm /100 /1000 hPa mm cm km km/h
"""

# RFC 8428 §12.1 and what IANA's registry has added since.
SENML_UNITS = frozenset(_SENML.split())
# RFC 8798 §3 and §4, and later additions to that registry: not allowed in a SenML record.
SECONDARY_UNITS = frozenset(_SECONDARY.split())
# In definitions of the OMA registry, and in no registry of units.
REGISTRY_UNITS = frozenset(("KB", "VAh", "Ws", "m3/h", "mg/l", "ppt"))

KNOWN_UNITS = SENML_UNITS | SECONDARY_UNITS | REGISTRY_UNITS


def is_known_unit(unit: str) -> bool:
    """Whether `unit` (or none: the empty string) is one that definitions use."""
    return not unit or unit in KNOWN_UNITS
