"""The district: the committed fixture, samples, extensions, and what makes it believable."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import cos, hypot, radians
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.manifest import MODELS, ManifestRow
from contracts.names import is_endpoint_name
from fake_devices.city import (
    HARBOUR,
    EmptyDistrict,
    check_manifest,
    district,
    generate,
    read_manifest,
    write_manifest,
)
from fake_devices.city.__main__ import FIXTURE_DEVICES, FIXTURE_SEED

FIXTURE = Path(__file__).parents[3] / "fixtures" / "cities" / "harbour_district.csv"


@pytest.fixture(scope="module")
def rows() -> list[ManifestRow]:
    return generate(HARBOUR, FIXTURE_SEED, 0, FIXTURE_DEVICES)


def _metres_apart(one: ManifestRow, other: ManifestRow) -> float:
    north = (one.latitude - other.latitude) * 111_320
    east = (one.longitude - other.longitude) * 111_320 * cos(radians(one.latitude))
    return hypot(north, east)


def test_the_committed_fixture_is_what_the_generator_makes(rows: list[ManifestRow]) -> None:
    assert FIXTURE.read_bytes() == write_manifest(rows)


def test_the_fixture_reads_back_without_an_error(rows: list[ManifestRow]) -> None:
    assert check_manifest(FIXTURE.read_bytes()) == (rows, [])


def test_shares_of_models_are_those_of_a_town(rows: list[ManifestRow]) -> None:
    counts = Counter(row.model for row in rows)
    assert [counts[model] / len(rows) for model in MODELS] == [0.55, 0.15, 0.15, 0.05, 0.10]


def test_names_and_identities_are_legal_and_unique(rows: list[ManifestRow]) -> None:
    assert all(is_endpoint_name(row.endpoint) for row in rows)
    for column in ("endpoint", "serial", "psk_identity"):
        assert len({getattr(row, column) for row in rows}) == len(rows)
    assert all(row.psk is None for row in rows)


def test_lamps_stand_about_thirty_metres_apart_along_their_street(rows: list[ManifestRow]) -> None:
    for street in {row.street for row in rows}:
        lamps = [row for row in rows if row.street == street and row.model == "street_lamp"]
        for one, other in pairwise(lamps):
            assert 24.0 < _metres_apart(one, other) < 38.0


def test_no_two_devices_share_a_place_and_the_district_is_of_one_piece(
    rows: list[ManifestRow],
) -> None:
    assert len({(row.latitude, row.longitude) for row in rows}) == len(rows)
    assert all(_metres_apart(rows[0], row) < 4_000 for row in rows)


def test_bays_poles_and_houses_are_numbered_once_a_street(rows: list[ManifestRow]) -> None:
    for label in ("pole", "bay", "house"):
        marked = [(row.street, row.attributes[label]) for row in rows if label in row.attributes]
        assert len(set(marked)) == len(marked)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, FIXTURE_DEVICES), seed=st.integers(0, 2**32))
def test_a_sample_keeps_shares_and_order_and_has_every_model(
    rows: list[ManifestRow], count: int, seed: int
) -> None:
    sample = district(rows, count, seed)
    assert len(sample) == count
    numbers = {row.endpoint: number for number, row in enumerate(rows)}
    positions = [numbers[row.endpoint] for row in sample]
    assert positions == sorted(set(positions))
    counts = Counter(row.model for row in sample)
    if count >= 5:
        assert set(counts) == set(MODELS)
    if count >= 20:
        assert abs(counts["street_lamp"] - 0.55 * count) <= 1
    assert district(rows, count, seed) == sample


def test_samples_of_other_seeds_differ(rows: list[ManifestRow]) -> None:
    assert district(rows, 20, 1) != district(rows, 20, 2)


def test_all_devices_are_the_manifest_itself(rows: list[ManifestRow]) -> None:
    assert district(rows, len(rows), 9) == rows


def test_a_larger_district_begins_with_the_manifest_and_goes_on_with_fresh_devices(
    rows: list[ManifestRow],
) -> None:
    larger = district(rows, 2_000, 7)
    assert larger[: len(rows)] == rows
    assert (
        len({row.endpoint for row in larger}) == len({row.psk_identity for row in larger}) == 2_000
    )
    assert Counter(row.model for row in larger)["street_lamp"] == 1_100
    assert len({(row.latitude, row.longitude) for row in larger}) == 2_000
    assert district(rows, 2_000, 7) == larger != district(rows, 2_000, 8)


def test_a_users_own_manifest_is_extended_at_its_place_around_its_names() -> None:
    own = read_manifest(
        b"endpoint,serial,model,tenant,site,street,latitude,longitude,installed_on,psk_identity\n"
        b"lamp-0005,S1,street_lamp,acme,depot,Yard,-33.9,18.4,2025-01-01,id-1\n"
    )
    larger = district(own, 40, 1)
    assert larger[0] == own[0]
    assert len({row.endpoint for row in larger}) == 40
    assert {(row.tenant, row.site) for row in larger} == {("acme", "depot")}
    assert all(_metres_apart(own[0], row) < 3_000 for row in larger)


def test_no_manifest_at_all_is_extended_from_nothing() -> None:
    assert district([], 25, 1) == generate(HARBOUR, 1, 0, 25)


def test_a_district_of_no_devices_is_refused(rows: list[ManifestRow]) -> None:
    with pytest.raises(EmptyDistrict, match="at least 1"):
        district(rows, 0, 1)
