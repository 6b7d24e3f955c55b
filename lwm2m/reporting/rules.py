"""Which rules an observation goes by: attached attributes, its own parameters, server defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from lwm2m.objects import ObjectPath, Value
from lwm2m.reporting.access import SERVER_OBJECT
from lwm2m.reporting.attribute_table import AttributeTable
from lwm2m.reporting.attributes import (
    NO_ATTRIBUTES,
    NotificationAttributes,
    effective_maximum_period_s,
    override,
)
from lwm2m.reporting.observations import Conditions, ReportingRules

_SHORT_SERVER_ID, _MINIMUM_PERIOD, _MAXIMUM_PERIOD, _STORING = 0, 2, 3, 6
_MUTE_SEND, _CONFIRMABLE = 23, 26


class ServerDefaults(msgspec.Struct, frozen=True, gc=False):
    """What the Server object says about reporting: /1/x/2, /1/x/3, /1/x/6, /1/x/23, /1/x/26."""

    attributes: NotificationAttributes = NO_ATTRIBUTES
    stores: bool = True
    # Absent means muted (LwM2M Core, Server object, resource 23).
    send_is_muted: bool = True


def server_defaults(
    short_server_id: int, instances: Sequence[ObjectPath], values: Mapping[ObjectPath, Value]
) -> ServerDefaults:
    """The defaults of one server; those of the standard when it has no account."""
    account = server_account(short_server_id, instances, values)
    if account is None:
        return ServerDefaults()
    mode = values.get(account.child(_CONFIRMABLE))
    return ServerDefaults(
        NotificationAttributes(
            minimum_period_s=_period_s(values.get(account.child(_MINIMUM_PERIOD))),
            maximum_period_s=_period_s(values.get(account.child(_MAXIMUM_PERIOD))),
            confirmable=None if mode is None else mode == 1,
        ),
        stores=values.get(account.child(_STORING)) is not False,
        send_is_muted=values.get(account.child(_MUTE_SEND)) is not False,
    )


def server_account(
    short_server_id: int, instances: Sequence[ObjectPath], values: Mapping[ObjectPath, Value]
) -> ObjectPath | None:
    """The instance of /1 of a server."""
    for instance in instances:
        if (
            instance.object_id == SERVER_OBJECT
            and values.get(instance.child(_SHORT_SERVER_ID)) == short_server_id
        ):
            return instance
    return None


def rules_for(
    short_server_id: int,
    targets: Sequence[ObjectPath | None],
    parameters: NotificationAttributes,
    table: AttributeTable,
    defaults: ServerDefaults,
    lwm2m_version: str,
) -> ReportingRules:
    """The rules of an observation of `targets`; None among them is the root of a composite.

    Several targets with different periods: no path's minimum is undercut, and the shortest maximum
    counts. The defaults count where no path says anything, `parameters` win over all.
    """
    attached = [
        NO_ATTRIBUTES if each is None else table.effective(short_server_id, each)
        for each in targets
    ]
    together = override(override(defaults.attributes, _merged(attached)), parameters)
    return ReportingRules(
        minimum_period_s=together.minimum_period_s or 0,
        maximum_period_s=effective_maximum_period_s(together, lwm2m_version),
        minimum_evaluation_period_s=together.minimum_evaluation_period_s or 0,
        maximum_evaluation_period_s=together.maximum_evaluation_period_s or None,
        confirmable=together.confirmable or False,
        historical_values_max=together.historical_values_max or 0,
        stores=defaults.stores,
        conditions=_conditions(short_server_id, parameters, table),
    )


def _merged(attached: Sequence[NotificationAttributes]) -> NotificationAttributes:
    if len(attached) == 1:
        return attached[0]
    shortest = _largest(each.minimum_period_s for each in attached)
    longest = _smallest(each.maximum_period_s for each in attached)
    if shortest and longest and longest <= shortest:
        # Two paths that each agree with themselves: as often as the other one's minimum allows.
        longest = shortest + 1
    return NotificationAttributes(
        minimum_period_s=shortest,
        maximum_period_s=longest,
        minimum_evaluation_period_s=_largest(each.minimum_evaluation_period_s for each in attached),
        maximum_evaluation_period_s=_smallest(
            each.maximum_evaluation_period_s for each in attached
        ),
        confirmable=any(each.confirmable for each in attached) or None,
        historical_values_max=_largest(each.historical_values_max for each in attached),
    )


def _conditions(
    server: int, parameters: NotificationAttributes, table: AttributeTable
) -> Conditions:
    def conditions(path: ObjectPath) -> NotificationAttributes:
        return override(table.effective(server, path), parameters)

    return conditions


def _largest(numbers: Iterable[int | None]) -> int | None:
    return max((number for number in numbers if number), default=None)


def _smallest(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number), default=None)


def _period_s(value: Value | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
