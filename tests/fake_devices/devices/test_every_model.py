"""What holds for every device type, over seeds, places and times."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.manifest import MODELS as MANIFEST_MODELS
from contracts.telemetry import SENML_UNITS
from fake_devices.devices import MODELS, Changes, DeviceIdentity, DeviceModel, Incident
from lwm2m.objects import ObjectPath, ValueType, builtin_models, check_value, resource_model

Drive = Callable[..., list[Changes]]
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
# From 2020 to 2035.
moments = st.floats(1.58e9, 2.05e9)
identities = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"[a-z]{2,6}-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("any"),
    latitude=st.floats(-65.0, 69.0),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)
HERE = DeviceIdentity("lamp-0001", "X-1", "any", 53.54, 8.57, 7)
NOON = 1_781_956_800.0


def test_models_are_those_that_a_manifest_may_name() -> None:
    assert tuple(MODELS) == MANIFEST_MODELS
    assert all(model.name == name for name, model in MODELS.items())


@every_model
@settings(max_examples=25, deadline=None)
@given(identity=identities, t_s=moments)
def test_initial_values_are_whole_and_of_the_types_the_registry_gives(
    model: DeviceModel, identity: DeviceIdentity, t_s: float
) -> None:
    models = builtin_models()
    values = model.initial(identity, t_s)
    for path, value in values.items():
        check_value(resource_model(models, path), value)
    instances = {ObjectPath(path.object_id, path.instance_id) for path in values}
    assert instances == set(model.objects)
    for instance in model.objects:
        for resource in models[instance.object_id].resources.values():
            if resource.mandatory and resource.type is not ValueType.NONE:
                assert any(
                    path.object_id == instance.object_id and path.resource_id == resource.id
                    for path in values
                )


@every_model
def test_reported_resources_exist_and_have_units_that_senml_knows(model: DeviceModel) -> None:
    values, models = model.initial(HERE, NOON), builtin_models()
    for path in model.reported:
        assert path in values
        assert (resource_model(models, path).unit or "") in SENML_UNITS


@every_model
def test_all_values_stay_of_the_right_type_through_a_day(model: DeviceModel, drive: Drive) -> None:
    models = builtin_models()
    for values in drive(model, HERE, (NOON + 600 * step for step in range(150))):
        for path, value in values.items():
            check_value(resource_model(models, path), value)


@every_model
@settings(max_examples=15, deadline=None)
@given(identity=identities, t_s=moments)
def test_sensing_is_pure(model: DeviceModel, identity: DeviceIdentity, t_s: float) -> None:
    values, memory = model.initial(identity, t_s), model.new_memory(identity, t_s)
    untouched = dict(values)
    first = model.sense(identity, t_s + 5.0, values, memory, ())
    assert model.sense(identity, t_s + 5.0, values, memory, ()) == first
    assert values == untouched
    assert all(values.get(path) != value for path, value in first[0].items())


@every_model
def test_sensing_at_the_same_moment_again_changes_nothing(model: DeviceModel) -> None:
    values, memory = model.initial(HERE, NOON), model.new_memory(HERE, NOON)
    changes, memory = model.sense(HERE, NOON + 60.0, values, memory, ())
    values |= changes
    assert model.sense(HERE, NOON + 60.0, values, memory, ())[0] == {}


@every_model
@settings(max_examples=15, deadline=None)
@given(
    identity=identities,
    begins=moments,
    lead_s=st.floats(1.0, 40.0),
    lasts_s=st.floats(4.0, 300.0),
    step_s=st.floats(0.5, 4.0),
)
def test_the_demonstration_incident_raises_its_alarm_once_and_clears_it(
    model: DeviceModel,
    drive: Drive,
    identity: DeviceIdentity,
    begins: float,
    lead_s: float,
    lasts_s: float,
    step_s: float,
) -> None:
    incident = Incident(model.demonstration_incident, begins, begins + lasts_s)
    steps = int((lead_s + lasts_s + 30.0) / step_s) + 1
    times = [begins - lead_s + step_s * step for step in range(steps)]
    rule = model.alarm_rules[0]
    stands = [rule.is_raised(values) for values in drive(model, identity, times, [incident])]
    during = [s for s, t in zip(stands, times, strict=True) if incident.lasts_at(t)]
    after = [s for s, t in zip(stands, times, strict=True) if t >= incident.ends_s]
    assert all(during)
    assert not any(after)
    assert sum(before != now for before, now in pairwise(stands)) in (1, 2)


@every_model
def test_incidents_of_other_models_are_ignored(model: DeviceModel, drive: Drive) -> None:
    others = [m.demonstration_incident for m in MODELS.values() if m is not model]
    incidents = [Incident(kind, NOON + 10.0, NOON + 60.0) for kind in others]
    times = [NOON + 5.0 * step for step in range(20)]
    assert drive(model, HERE, times, incidents) == drive(model, HERE, times)


@every_model
def test_alarms_tell_what_crossed_and_what_it_crossed(model: DeviceModel, drive: Drive) -> None:
    incident = Incident(model.demonstration_incident, NOON, NOON + 60.0)
    values = drive(model, HERE, [NOON - 10.0, NOON + 30.0], [incident])[-1]
    rule = model.alarm_rules[0]
    assert rule.is_raised(values)
    value, threshold = rule.value(values), rule.threshold_value(values)
    if value is not None and threshold is not None:
        assert value >= threshold


@every_model
def test_devices_of_one_seed_differ_and_of_equal_seed_and_name_do_not(model: DeviceModel) -> None:
    other = DeviceIdentity("lamp-0002", "X-1", "any", 53.54, 8.57, 7)
    assert model.initial(HERE, NOON) != model.initial(other, NOON)
    assert model.initial(HERE, NOON) == model.initial(HERE, NOON)
