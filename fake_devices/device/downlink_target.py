"""What a request is aimed at and who asks: existence, hierarchy and access rights, with the code
that tells what is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from fake_devices.device.tree import ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Response
from lwm2m.errors import (
    IllegalPath,
    InvalidValue,
    LwM2mError,
    MalformedAttribute,
    MalformedPayload,
    OperationNotAllowed,
    UnsupportedContentFormat,
)
from lwm2m.objects import ObjectPath, ResourceModel, check_path
from lwm2m.reporting import AccessContext, Right, is_controlled, rights_of
from lwm2m.reporting.access import SERVER_OBJECT

# Never told to a server outside bootstrap (LwM2M Core §6.1.7): Security, OSCORE, COSE.
BOOTSTRAP_OBJECTS: Final = frozenset({0, 21, 23})


_PATHS_KEPT: Final = 1_024


class Refused(Exception):
    """Answer with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(codes.code_text(code))
        self.code = code


class Done(NamedTuple):
    """What an operation did: its answer, the values and instances that changed, and the arguments
    of an Execute."""

    response: Response
    touched: tuple[ObjectPath, ...] = ()
    arguments: tuple[tuple[int, str | None], ...] = ()


class Caller(NamedTuple):
    """A tree and who asks for something of it."""

    tree: ObjectTree
    access: AccessContext
    is_controlled: bool

    @classmethod
    def of(cls, tree: ObjectTree, access: AccessContext) -> Caller:
        """The caller, with whether access rights count on this device."""
        return cls(tree, access, is_controlled(access, tree.instances_of(SERVER_OBJECT)))

    def may(self, right: Right, target: ObjectPath) -> bool:
        """Whether the caller has `right` on the object instance (or object) of `target`."""
        server = self.access.short_server_id
        if not self.is_controlled or server is None:
            return True
        return bool(rights_of(server, target.instance, self.tree.instances, self.tree) & right)

    def require(self, right: Right, target: ObjectPath) -> None:
        """Return when the caller has the right. Raises `Refused` 4.01."""
        if not self.may(right, target):
            raise Refused(codes.UNAUTHORIZED)


def target_of(tree: ObjectTree, segments: tuple[str, ...]) -> ObjectPath:
    """The path that a request names, which exists down to the resource's definition.

    Raises `Refused`: 4.05 for a path that breaks the hierarchy, 4.04, or 4.01.
    """
    if not 1 <= len(segments) <= 4 or segments == ("",):
        raise Refused(codes.METHOD_NOT_ALLOWED)
    try:
        base = _path_of(segments)
    except IllegalPath:
        raise Refused(codes.NOT_FOUND) from None
    require_target(tree, base)
    return base


@lru_cache(_PATHS_KEPT)
def _path_of(segments: tuple[str, ...]) -> ObjectPath:
    # A server asks thousands of devices for the same few places.
    return ObjectPath.of_segments(segments)


def require_target(tree: ObjectTree, base: ObjectPath) -> None:
    """Return when `base` exists down to the resource's definition. Raises `Refused`."""
    if base.object_id in BOOTSTRAP_OBJECTS:
        raise Refused(codes.UNAUTHORIZED)
    if not has_object(tree, base.object_id):
        raise Refused(codes.NOT_FOUND)
    if base.depth == 1:
        return
    if base.instance not in tree.instances:
        raise Refused(codes.NOT_FOUND)
    if base.depth == 2:
        return
    if base.resource_id not in tree.template.models[base.object_id].resources:
        raise Refused(codes.NOT_FOUND)
    try:
        check_path(tree.template.models, base)
    except IllegalPath:
        # A resource instance of what has none.
        raise Refused(codes.METHOD_NOT_ALLOWED) from None


def has_object(tree: ObjectTree, object_id: int) -> bool:
    """Whether the device has this object, with or without instances."""
    return object_id in tree.template.objects or any(
        instance.object_id == object_id for instance in tree.instances
    )


def resource_at(tree: ObjectTree, path: ObjectPath) -> ResourceModel:
    """The definition of the resource of `path`. Raises `Refused` 4.00."""
    model = tree.template.models.get(path.object_id)
    if model is None or path.resource_id is None or path.resource_id not in model.resources:
        raise Refused(codes.BAD_REQUEST)
    return model.resources[path.resource_id]


def require_no_query(query: tuple[str, ...]) -> None:
    """Return when there are no query parameters. Raises `Refused` 4.00: none is known here."""
    if query:
        raise Refused(codes.BAD_REQUEST)


def code_of(error: LwM2mError) -> int:
    """The code that an error of the protocol code is answered with."""
    if isinstance(error, UnsupportedContentFormat):
        return codes.UNSUPPORTED_CONTENT_FORMAT
    if isinstance(error, OperationNotAllowed):
        return codes.METHOD_NOT_ALLOWED
    if isinstance(error, MalformedPayload | InvalidValue | IllegalPath | MalformedAttribute):
        return codes.BAD_REQUEST
    return codes.INTERNAL_SERVER_ERROR
