"""Who may do what: object 2, cell by cell (LwM2M Core §8)."""

from __future__ import annotations

from typing import Any

import pytest

from lwm2m.objects import ObjectPath
from lwm2m.reporting import (
    UNCONTROLLED,
    AccessContext,
    Right,
    find_control,
    is_controlled,
    new_control,
    rights_of,
)

LAMP = ObjectPath(3311, 0)
OWNER, FRIEND, STRANGER = 101, 102, 103
ON_INSTANCE = Right.READ | Right.WRITE | Right.EXECUTE | Right.DELETE


def control(
    number: int, target: ObjectPath, owner: int, entries: dict[int, Any]
) -> dict[ObjectPath, Any]:
    base = ObjectPath(2, number)
    instance = 65535 if target.instance_id is None else target.instance_id
    values: dict[ObjectPath, Any] = {
        base.child(0): target.object_id,
        base.child(1): instance,
        base.child(3): owner,
    }
    return values | {base.child(2).child(server): bits for server, bits in entries.items()}


def rights(values: dict[ObjectPath, Any], server: int, target: ObjectPath = LAMP) -> Right:
    instances = sorted({path.instance for path in values})
    return rights_of(server, target, instances, values)


@pytest.mark.parametrize(
    ("entries", "server", "expected"),
    [
        ({}, OWNER, ON_INSTANCE),
        ({}, FRIEND, Right.NONE),
        ({FRIEND: 3}, FRIEND, Right.READ | Right.WRITE),
        ({FRIEND: 3}, STRANGER, Right.NONE),
        ({FRIEND: 3, 0: 1}, STRANGER, Right.READ),
        ({FRIEND: 0, 0: 1}, FRIEND, Right.NONE),
        ({0: 1}, OWNER, ON_INSTANCE),
        ({OWNER: 1}, OWNER, Right.READ),
        ({FRIEND: 31}, FRIEND, ON_INSTANCE | Right.CREATE),
        ({FRIEND: 0xFFE1}, FRIEND, Right.READ),
        ({FRIEND: "all"}, FRIEND, Right.NONE),
    ],
)
def test_own_entry_then_default_then_nothing(
    entries: dict[int, Any], server: int, expected: Right
) -> None:
    assert rights(control(0, LAMP, OWNER, entries), server) == expected


def test_without_an_access_control_instance_there_is_no_right() -> None:
    assert rights({}, OWNER) == Right.NONE
    assert rights(control(0, ObjectPath(3311, 1), OWNER, {}), OWNER) == Right.NONE
    assert rights(control(0, ObjectPath(3312, 0), OWNER, {}), OWNER) == Right.NONE


def test_creation_is_granted_on_the_object() -> None:
    values = control(0, LAMP, OWNER, {}) | control(1, ObjectPath(3311), 65535, {FRIEND: 16})
    assert rights(values, FRIEND, ObjectPath(3311)) == Right.CREATE
    assert rights(values, OWNER, ObjectPath(3311)) == Right.NONE
    owned = control(0, ObjectPath(3311), OWNER, {})
    assert rights(owned, OWNER, ObjectPath(3311)) == Right.CREATE


def test_an_access_control_instance_is_changed_by_its_owner_and_read_by_all() -> None:
    values = control(0, LAMP, OWNER, {FRIEND: 31})
    assert rights(values, OWNER, ObjectPath(2, 0)) == Right.READ | Right.WRITE
    assert rights(values, FRIEND, ObjectPath(2, 0)) == Right.READ
    assert rights(values, OWNER, ObjectPath(2)) == Right.READ
    bootstrap_owned = control(0, LAMP, 65535, {})
    assert rights(bootstrap_owned, OWNER, ObjectPath(2, 0)) == Right.READ
    assert rights(bootstrap_owned, OWNER) == Right.NONE


@pytest.mark.parametrize(("accounts", "expected"), [(0, False), (1, False), (2, True)])
def test_a_single_server_is_not_controlled(accounts: int, expected: bool) -> None:
    instances = [LAMP, *(ObjectPath(1, number) for number in range(accounts))]
    assert is_controlled(AccessContext(OWNER), instances) is expected
    assert is_controlled(UNCONTROLLED, instances) is False


def test_the_creator_becomes_owner_in_the_first_free_instance() -> None:
    taken = [ObjectPath(2, 0), ObjectPath(2, 2), ObjectPath(3311, 1)]
    instance, values = new_control(ObjectPath(3311, 4), FRIEND, taken)
    assert instance == ObjectPath(2, 1)
    assert find_control(ObjectPath(3311, 4), [instance], values) == instance
    assert rights_of(FRIEND, ObjectPath(3311, 4), [instance], values) == ON_INSTANCE
    assert rights_of(OWNER, ObjectPath(3311, 4), [instance], values) == Right.NONE
