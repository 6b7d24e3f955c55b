"""An observation's rules: the Server object's, those of attributes, and its own parameters."""

from __future__ import annotations

from typing import Any

from lwm2m.objects import ObjectPath, Value
from lwm2m.reporting import (
    NO_ATTRIBUTES,
    AttributeTable,
    ReportingRules,
    rules_for,
    server_account,
    server_defaults,
)
from tests.lwm2m.reporting.watched import FLAG, LEVEL, OTHER, A, level

# ---- periods ----


def test_new_rules_count_for_periods_that_run() -> None:
    watched = level(maximum_period_s=60)
    watched.observation.set_rules(ReportingRules(maximum_period_s=20))
    assert watched.timer == 20
    assert watched.at(25) is not None


# ---- rules ----


def server_values(**resources: Value) -> tuple[list[ObjectPath], dict[ObjectPath, Value]]:
    numbers = {"pmin": 2, "pmax": 3, "storing": 6, "mute": 23, "mode": 26}
    base = ObjectPath(1, 4)
    values: dict[ObjectPath, Value] = {base.child(0): 101, ObjectPath(1, 0, 0): 100}
    values |= {base.child(numbers[name]): value for name, value in resources.items()}
    return [ObjectPath(0, 0), ObjectPath(1, 0), base], values


def test_the_server_object_says_the_defaults() -> None:
    instances, values = server_values(pmin=5, pmax=50, storing=False, mute=False, mode=1)
    found = server_defaults(101, instances, values)
    assert found.attributes == A(minimum_period_s=5, maximum_period_s=50, confirmable=True)
    assert (found.stores, found.send_is_muted) == (False, False)
    assert server_account(101, instances, values) == ObjectPath(1, 4)


def test_without_a_word_the_defaults_are_the_standards() -> None:
    instances, values = server_values()
    found = server_defaults(101, instances, values)
    assert found == server_defaults(999, instances, values)
    assert (found.attributes, found.stores, found.send_is_muted) == (NO_ATTRIBUTES, True, True)
    instances, values = server_values(pmin=-1, pmax=True, mode=0)
    assert server_defaults(101, instances, values).attributes == A(confirmable=False)


def _rules(
    *targets: ObjectPath | None,
    parameters: A = NO_ATTRIBUTES,
    version: str = "1.2",
    **defaults: Any,
) -> ReportingRules:
    instances, values = server_values(**defaults)
    table = AttributeTable()
    for path, changes in (
        (LEVEL, {"minimum_period_s": 7, "step": 1.0}),
        (OTHER, {"maximum_period_s": 5, "historical_values_max": 3}),
        (FLAG, {"maximum_period_s": 9, "confirmable": True}),
    ):
        table.change(101, path, changes, _MODELS, "1.2")
    found = server_defaults(101, instances, values)
    return rules_for(101, targets, parameters, table, found, version)


class _Anything(dict[int, Any]):
    """Models in which every resource is a number."""

    def get(self, key: int, default: object = None) -> Any:
        from lwm2m.objects import ObjectModel, ResourceModel, ValueType

        kinds = {n: ResourceModel(n, "n", ValueType.FLOAT, "R") for n in (5700, 5601, 5500)}
        return ObjectModel(key, "any", "1.0", "1.0", True, False, kinds)


_MODELS: Any = _Anything()


def test_attached_attributes_win_over_the_server_s_defaults() -> None:
    rules = _rules(LEVEL, pmin=3, pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (7, 30)
    assert rules.conditions(LEVEL).step == 1.0
    assert rules.conditions(OTHER).step is None


def test_parameters_of_the_observation_win_over_attached_attributes() -> None:
    rules = _rules(LEVEL, parameters=A(minimum_period_s=1, step=9.0), pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (1, 30)
    assert rules.conditions(LEVEL).step == 9.0


def test_a_composite_goes_by_the_periods_of_all_its_paths() -> None:
    rules = _rules(LEVEL, OTHER, FLAG)
    # The shortest maximum, 5 s, is below the longest minimum, 7 s.
    assert (rules.minimum_period_s, rules.maximum_period_s) == (7, 8)
    assert (rules.confirmable, rules.historical_values_max) == (True, 3)
    rules = _rules(OTHER, FLAG)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (0, 5)


def test_the_root_of_a_composite_goes_by_the_defaults() -> None:
    rules = _rules(None, pmin=3, pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (3, 30)
    assert rules.maximum_evaluation_period_s is None
