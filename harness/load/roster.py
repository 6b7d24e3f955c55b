"""Which devices of a worker are switched on, and which one the next user is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class Roster:
    """The devices by position; `models` says each one's model.

    A user that is stopped gives its device back, and the device that has been off for longest is
    the next one: as long as there are others, none is off for a moment only.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = models
        self._off: OrderedDict[int, None] = OrderedDict()
        self._off_by_model: dict[str, OrderedDict[int, None]] = {}
        for position in range(len(models)):
            self._put(position)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def models(self) -> list[str]:
        """The models that there are."""
        return sorted(self._off_by_model)

    def take(self, model: str | None) -> int | None:
        """The position of a device that is off, of this model or of any; None when none is left."""
        waiting = self._off if model is None else self._off_by_model.get(model)
        if not waiting:
            return None
        position = next(iter(waiting))
        del self._off[position], self._off_by_model[self._models[position]][position]
        return position

    def give_back(self, position: int) -> None:
        """The device at this position is off again."""
        self._put(position)

    def _put(self, position: int) -> None:
        self._off[position] = None
        self._off_by_model.setdefault(self._models[position], OrderedDict())[position] = None
