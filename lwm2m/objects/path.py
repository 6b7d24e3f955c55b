"""Where a value lives: object, instance, resource, resource instance."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from lwm2m.errors import IllegalPath

ID_MAX = 65534
# LwM2M Core §7.3: reserved. Beneath an object it stands for an instance whose id is not chosen yet.
NULL_ID = 65535

_DEPTH_MAX = 4
_LEVELS = ("object_id", "instance_id", "resource_id", "resource_instance_id")
# The longest path there is; what is longer is wrong, and not kept in memory.
_TEXT_LENGTH_MAX = len("/65534/65534/65534/65534")
# A server writes and reads few different paths very often.
_TEXTS_KEPT = 4_096


class ObjectPath(NamedTuple):
    """`ObjectPath(3303, 0, 5700)` is `/3303/0/5700`. A missing level is None, and none follows it.

    The constructor checks nothing; `parse` and `of_segments` do.
    """

    object_id: int
    instance_id: int | None = None
    resource_id: int | None = None
    resource_instance_id: int | None = None

    @classmethod
    def parse(cls, text: str) -> ObjectPath:
        """The path that `text` (such as `/3303/0/5700`) names. Raises `IllegalPath`."""
        return _parse_known(text) if len(text) <= _TEXT_LENGTH_MAX else _parse(text)

    @classmethod
    def of_segments(cls, segments: list[str] | tuple[str, ...]) -> ObjectPath:
        """The path whose levels are `segments`, as in Uri-Path options. Raises `IllegalPath`."""
        if not 1 <= len(segments) <= _DEPTH_MAX:
            raise IllegalPath(f"{len(segments)} levels: a path has one to four")
        return cls(*[_identifier(segment) for segment in segments])

    def __str__(self) -> str:
        return "/" + "/".join([str(level) for level in self if level is not None])

    @property
    def depth(self) -> int:
        """1 for an object to 4 for a resource instance."""
        return _DEPTH_MAX - self.count(None)

    @property
    def segments(self) -> tuple[str, ...]:
        """The levels as text, for Uri-Path options."""
        return tuple([str(level) for level in self if level is not None])

    @property
    def object(self) -> ObjectPath:
        """The path of the object."""
        return ObjectPath(self.object_id)

    @property
    def instance(self) -> ObjectPath:
        """The path of the object instance (the object's when there is none)."""
        return ObjectPath(self.object_id, self.instance_id)

    @property
    def resource(self) -> ObjectPath:
        """The path of the resource, without the resource instance."""
        return ObjectPath(self.object_id, self.instance_id, self.resource_id)

    def child(self, identifier: int) -> ObjectPath:
        """The path one level down. Raises `IllegalPath` beneath a resource instance."""
        depth = self.depth
        if depth == _DEPTH_MAX:
            raise IllegalPath(f"{self} has no levels below")
        return self._replace(**{_LEVELS[depth]: identifier})

    def contains(self, other: ObjectPath) -> bool:
        """Whether `other` is this path or lies beneath it."""
        depth = _DEPTH_MAX - self.count(None)
        return self[:depth] == other[:depth]


def _parse(text: str) -> ObjectPath:
    if not text.startswith("/"):
        raise IllegalPath(f"{text[:60]!r} does not begin with a slash")
    return ObjectPath.of_segments(text[1:].split("/"))


_parse_known = lru_cache(_TEXTS_KEPT)(_parse)


def _identifier(segment: str) -> int:
    # The canonical form only: `03` and `٣` would make two names for one thing.
    if not (segment.isascii() and segment.isdigit()) or (segment[0] == "0" and len(segment) > 1):
        raise IllegalPath(f"{segment[:20]!r} is not an id: a decimal number without leading zeros")
    if len(segment) > 5 or int(segment) > ID_MAX:
        raise IllegalPath(f"{segment[:20]} is not an id: 0 to {ID_MAX}")
    return int(segment)
