"""Who may do what: access control by the instances of object 2 (LwM2M Core §8).

Pure: the values of /2 go in, a decision comes out. Operations on /0, /21 and /23 are refused
elsewhere: no access right opens them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from lwm2m.objects import ID_MAX, NULL_ID, ObjectPath, Value

ACCESS_CONTROL_OBJECT: Final = 2
SERVER_OBJECT: Final = 1
DEFAULT_SERVER: Final = 0
"""The id of the entry in /2/x/2 for servers without one of their own."""
BOOTSTRAP_OWNED: Final = NULL_ID
"""Owner of an access control instance that only bootstrap may change."""
_OBJECT_ID, _INSTANCE_ID, _RIGHTS, _OWNER = range(4)


class Right(enum.IntFlag):
    """The bits of an entry in /2/x/2. READ also covers Observe and Write-Attributes."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXECUTE = 4
    DELETE = 8
    CREATE = 16


_ALL_ON_INSTANCE: Final = Right.READ | Right.WRITE | Right.EXECUTE | Right.DELETE
_KNOWN: Final = _ALL_ON_INSTANCE | Right.CREATE


class AccessContext(msgspec.Struct, frozen=True, gc=False):
    """Who asks: the short server id of the account that the request came over; None is not
    controlled at all."""

    short_server_id: int | None = None


UNCONTROLLED: Final = AccessContext()


def is_controlled(access: AccessContext, instances: Iterable[ObjectPath]) -> bool:
    """Whether access rights count: with a single server account they do not (LwM2M Core §8.1).

    With several they do even when /2 has no instance: then nobody may do anything.
    """
    if access.short_server_id is None:
        return False
    accounts = 0
    for instance in instances:
        if instance.object_id == SERVER_OBJECT:
            accounts += 1
    return accounts > 1


def rights_of(
    short_server_id: int,
    target: ObjectPath,
    instances: Iterable[ObjectPath],
    values: Mapping[ObjectPath, Value],
) -> Right:
    """What a server may do with an object instance; with an object: whether it may create.

    `instances` are the client's, `values` its values. The owner without an entry of its own has all
    rights, then its own entry counts, then the default one, then nothing.
    """
    if target.object_id == ACCESS_CONTROL_OBJECT:
        return _rights_on_control(short_server_id, target, values)
    control = find_control(target, instances, values)
    if control is None:
        return Right.NONE
    own = _entry(control, short_server_id, values)
    if own is not None:
        return own
    if values.get(control.child(_OWNER)) == short_server_id:
        return _ALL_ON_INSTANCE if target.depth > 1 else Right.CREATE
    return _entry(control, DEFAULT_SERVER, values) or Right.NONE


def find_control(
    target: ObjectPath, instances: Iterable[ObjectPath], values: Mapping[ObjectPath, Value]
) -> ObjectPath | None:
    """The instance of /2 that governs an object instance, or creation when `target` is an object.

    Creation is granted by the instance whose object instance field is 65535.
    """
    wanted = NULL_ID if target.instance_id is None else target.instance_id
    for instance in instances:
        if (
            instance.object_id == ACCESS_CONTROL_OBJECT
            and values.get(instance.child(_OBJECT_ID)) == target.object_id
            and values.get(instance.child(_INSTANCE_ID)) == wanted
        ):
            return instance
    return None


def new_control(
    target: ObjectPath, owner: int, instances: Iterable[ObjectPath]
) -> tuple[ObjectPath, dict[ObjectPath, Value]]:
    """The instance of /2 that makes the creator of an object instance its owner, with values."""
    taken = {each.instance_id for each in instances if each.object_id == ACCESS_CONTROL_OBJECT}
    number = next(number for number in range(ID_MAX + 1) if number not in taken)
    control = ObjectPath(ACCESS_CONTROL_OBJECT, number)
    assert target.instance_id is not None
    return control, {
        control.child(_OBJECT_ID): target.object_id,
        control.child(_INSTANCE_ID): target.instance_id,
        control.child(_OWNER): owner,
    }


def _rights_on_control(
    short_server_id: int, target: ObjectPath, values: Mapping[ObjectPath, Value]
) -> Right:
    # §8.1: everybody may look, only the owner may change, and nobody creates or deletes: the client
    # does, along with the instance that is governed.
    if target.depth > 1 and values.get(target.child(_OWNER)) == short_server_id:
        return Right.READ | Right.WRITE
    return Right.READ


def _entry(
    control: ObjectPath, short_server_id: int, values: Mapping[ObjectPath, Value]
) -> Right | None:
    found = values.get(control.child(_RIGHTS).child(short_server_id))
    if not isinstance(found, int):
        return None
    return Right(found & _KNOWN)
