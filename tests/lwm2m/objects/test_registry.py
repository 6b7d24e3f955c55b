"""Several versions of one object side by side, and which of them serves which device."""

from __future__ import annotations

import msgspec
import pytest

from lwm2m.errors import DefinedTwice
from lwm2m.objects import ModelRegistry, ObjectModel, builtin_versions
from lwm2m.objects.versions import version_for, version_key

VERSIONS = builtin_versions()


def _model(object_id: int, version: str, name: str = "Ours") -> ObjectModel:
    return ObjectModel(object_id, name, version, "1.0", True, False, {})


def test_a_device_gets_the_versions_that_it_names() -> None:
    models = ModelRegistry().models_for({3416: "1.0", 21: "2.0", 3: "1.1"})
    assert (models[3416].version, models[21].version, models[3].version) == ("1.0", "2.0", "1.1")


def test_a_version_that_is_not_known_is_served_by_its_newest_relative_only() -> None:
    models = ModelRegistry().models_for({3303: "1.7", 3416: "3.0", 3: "nonsense"})
    assert models[3303].version == "1.1"
    assert 3416 not in models
    assert 3 not in models


def test_an_object_without_version_is_some_1_x() -> None:
    models = ModelRegistry().models_for({})
    assert models[3416].version == "1.0"
    assert models[1].version == "1.2"


def test_equal_versions_share_one_mapping() -> None:
    registry = ModelRegistry()
    assert registry.models_for({3: "1.0", 1: "1.0"}) is registry.models_for({1: "1.0", 3: "1.0"})


def test_mappings_are_kept_for_the_combinations_seen_last() -> None:
    registry = ModelRegistry({})
    first = registry.models_for({1: "1.0"})
    for minor in range(256):
        registry.models_for({2: f"1.{minor}"})
    assert registry.models_for({1: "1.0"}) is not first


def test_a_users_definition_stands_beside_the_built_in_ones() -> None:
    registry = ModelRegistry()
    before = registry.models_for({3303: "1.2"})
    registry.add(_model(3303, "1.2"))
    assert registry.versions_of(3303) == ("1.0", "1.1", "1.2")
    assert registry.models_for({3303: "1.2"})[3303].name == "Ours"
    assert registry.models_for({3303: "1.0"})[3303].name == "Temperature"
    assert before[3303].version == "1.1"


def test_a_users_definition_replaces_another_only_when_told_so() -> None:
    registry = ModelRegistry()
    with pytest.raises(DefinedTwice, match=r"/3303 1\.1 \(Ours\) is defined already"):
        registry.add(_model(3303, "1.1"))
    registry.add(_model(3303, "1.1"), replaces=True)
    assert registry.models_for({3303: "1.1"})[3303].name == "Ours"
    with pytest.raises(DefinedTwice):
        registry.add(_model(3303, "1.1", "Again"))
    registry.add(_model(3303, "1.1", "Again"), replaces=True)
    found = registry.model(3303, "1.1")
    assert found is not None
    assert found.name == "Again"


def test_a_registry_tells_what_it_knows() -> None:
    registry = ModelRegistry({(7, "1.0"): _model(7, "1.0")})
    registry.add(_model(5, "1.10"))
    registry.add(_model(5, "1.9"))
    assert list(registry) == [(5, "1.9"), (5, "1.10"), (7, "1.0")]
    assert len(registry) == 3
    assert registry.versions_of(9) == ()
    assert registry.model(9, "1.0") is None
    assert len(ModelRegistry()) == len(VERSIONS)


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["1.10", "1.9", "2.0", "x", "1.0"], key=version_key) == [
        "x",
        "1.0",
        "1.9",
        "1.10",
        "2.0",
    ]


@pytest.mark.parametrize(
    ("asked", "known", "served"),
    [
        ("1.1", ["1.0", "1.1", "1.2"], "1.1"),
        ("1.5", ["1.0", "1.1", "2.0"], "1.1"),
        ("2.0", ["1.0", "1.1"], None),
        ("", ["1.0"], None),
        (None, ["1.0", "1.1", "2.0"], "1.1"),
        (None, ["2.0", "2.1"], "2.1"),
        (None, [], None),
    ],
)
def test_which_version_serves(asked: str | None, known: list[str], served: str | None) -> None:
    assert version_for(asked, known) == served


def test_definitions_are_values() -> None:
    model = VERSIONS[3, "1.0"]
    assert msgspec.structs.replace(model, name="Device") == model
