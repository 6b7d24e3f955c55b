"""The SenML unit of a value: the one it was sent with, else that of its resource's definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contracts.telemetry import SENML_UNIT_OFFSETS, SENML_UNITS
from lwm2m.objects import ObjectModel, builtin_models

_UNIT_OF_FACTOR_ONE: Final = 1.0


class Units:
    """Units by path. Definitions are read when they are needed first."""

    def __init__(self, models: Mapping[int, ObjectModel] | None = None) -> None:
        self._models = builtin_models() if models is None else models

    def of(self, path: str, sent: str | None) -> str | None:
        """The unit, None when there is none or nobody knows.

        A pack without units has its values in those of the definitions, and these are SenML's only
        where the numbers are the same (RFC 8798 §2): where they are not, nothing is claimed.
        """
        if sent:
            return sent
        levels = path.split("/")
        model = self._models.get(int(levels[1]))
        resource = None if model is None else model.resources.get(int(levels[3]))
        defined = None if resource is None else resource.unit
        if not defined or defined in SENML_UNIT_OFFSETS:
            return None
        unit, factor = SENML_UNITS.get(defined, (None, 0.0))
        return unit if factor == _UNIT_OF_FACTOR_ONE else None
