"""The built-in definitions are read when they are needed, and are what the registry says."""

from __future__ import annotations

import pytest

from lwm2m.objects import (
    ResourceModel,
    ValueRange,
    ValueType,
    builtin_models,
    builtin_versions,
    is_known_unit,
    read_definition,
    write_definition,
)
from lwm2m.objects.builtin import DEFINITIONS
from lwm2m.objects.importing import CORRECTIONS, Correction
from lwm2m.objects.versions import version_key

VERSIONS = builtin_versions()


def test_a_definition_is_read_once_and_only_when_it_is_asked_for() -> None:
    models = builtin_models()
    assert 3303 in models
    assert 3309 not in models
    assert models.get(3309) is None
    assert models[3303] is models[3303]
    assert len(models) == len(list(models)) == len(dict(models))


def test_the_newest_version_is_the_default() -> None:
    models = builtin_models()
    for object_id, version in VERSIONS:
        assert version_key(models[object_id].version) >= version_key(version)
    assert [models[number].version for number in (0, 1, 3, 5, 20, 21, 3336, 3416)] == [
        "1.2",
        "1.2",
        "1.2",
        "1.2",
        "2.1",
        "2.0",
        "2.0",
        "2.0",
    ]


def test_files_are_named_after_what_is_in_them_and_are_in_the_form_that_is_written() -> None:
    for (object_id, version), model in VERSIONS.items():
        data = (DEFINITIONS / f"{object_id}_{version}.json").read_bytes()
        assert (model.id, model.version) == (object_id, version)
        assert write_definition(model) == data
        assert read_definition(data) == model


def test_every_definition_keeps_to_the_rules_of_definitions() -> None:
    for model in VERSIONS.values():
        assert model.name == model.name.strip() != ""
        assert model.lwm2m_version in ("1.0", "1.1", "1.2")
        for number, resource in model.resources.items():
            where = (model.id, model.version, number)
            assert resource.id == number, where
            assert resource.operations in ("", "R", "W", "RW", "E"), where
            assert resource.is_executable == (resource.type is ValueType.NONE), where
            assert is_known_unit(resource.unit), where
            assert resource.range_note == "", where
            assert resource.name == resource.name.strip() != "", where


def test_no_two_resources_of_an_object_have_one_name() -> None:
    for model in VERSIONS.values():
        names = [resource.name for resource in model.resources.values()]
        assert len(set(names)) == len(names), (model.id, model.version)


@pytest.mark.parametrize("slip", CORRECTIONS, ids=lambda slip: f"{slip[0]}-{slip[2]}")
def test_slips_of_the_registry_are_corrected_and_have_a_reason(slip: Correction) -> None:
    assert slip.reason
    for version in slip.versions:
        resource = VERSIONS[slip.object_id, version].resources[slip.resource_id]
        for name, value in slip.changes.items():
            assert getattr(resource, name) == value


def test_objects_of_one_id_differ_by_version() -> None:
    counts = {key: len(model.resources) for key, model in VERSIONS.items()}
    assert (counts[0, "1.0"], counts[0, "1.1"], counts[0, "1.2"]) == (13, 18, 31)
    assert (counts[3416, "1.0"], counts[3416, "2.0"]) == (47, 67)
    # A 1.x client sends the OSCORE secret as text.
    assert VERSIONS[21, "1.1"].resources[0].type is ValueType.STRING
    assert VERSIONS[21, "2.0"].resources[0].type is ValueType.OPAQUE


@pytest.mark.parametrize(
    ("object_id", "version", "resource_id", "expected"),
    [
        (0, "1.0", 8, ValueRange(allowed=(16, 32, 48))),
        (2, "1.0", 2, ValueRange(0, 65535)),
        (2, "1.1", 2, ValueRange(0, 31)),
        (3, "1.0", 9, ValueRange(0, 100)),
        (10, "1.0", 7, ValueRange(allowed=(1,))),
        (12, "1.0", 20, ValueRange(1, 4)),
        (20, "1.0", 4013, ValueRange(0, 255)),
        (3418, "2.0", 22, None),
        (3418, "2.0", 5, ValueRange(-1, 1)),
    ],
)
def test_ranges_are_those_of_the_registry(
    object_id: int, version: str, resource_id: int, expected: ValueRange | None
) -> None:
    assert VERSIONS[object_id, version].resources[resource_id].range == expected


def test_what_is_written_is_read_back() -> None:
    model = VERSIONS[3, "1.2"]
    resource = ResourceModel(
        7,
        'Höhe "über" NN',
        ValueType.FLOAT,
        "RW",
        unit="m",
        range=ValueRange(-0.5, 10),
        range_note="about",
    )
    changed = type(model)(42_769, "Ä", "1.10", "1.0", False, False, {7: resource})
    assert read_definition(write_definition(changed)) == changed
