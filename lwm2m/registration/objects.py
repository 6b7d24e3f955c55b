"""The object list of a Register or Update: which objects and instances a device has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lwm2m.codecs import link_format
from lwm2m.codecs.link_format import DEFAULT_LIMITS, Link, LinkFormatLimits
from lwm2m.errors import IllegalPath
from lwm2m.objects import ObjectPath

DEFAULT_VERSION = "1.0"


class RegisteredObjects(msgspec.Struct, frozen=True, gc=False):
    """An object list, read. `links` has all of it; the other fields are what LwM2M makes of it.

    `root` is the path under which the objects are (`/`, or what `rt="oma.lwm2m"` names);
    `content_formats` what the client takes beside the mandatory; `versions` by object id, only
    where they were given; `instances` all object instances in order of the list.
    """

    links: tuple[Link, ...]
    root: str
    content_formats: tuple[int, ...]
    versions: dict[int, str]
    objects: frozenset[int]
    instances: tuple[ObjectPath, ...]

    def has_instance(self, object_id: int, instance_id: int) -> bool:
        """Whether the device has this object instance."""
        return ObjectPath(object_id, instance_id) in self.instances

    def version_of(self, object_id: int) -> str:
        """The version of an object; without `ver` it is 1.0 (LwM2M Core §7.2.2)."""
        return self.versions.get(object_id, DEFAULT_VERSION)


def read_objects(payload: bytes, limits: LinkFormatLimits = DEFAULT_LIMITS) -> RegisteredObjects:
    """The objects that a payload in link format lists. Raises `MalformedLinkFormat`.

    Links that are no objects are kept in `links` and otherwise ignored, as are unknown objects.
    """
    links = link_format.decode(payload, limits)
    root, content_formats = _root(links)
    versions: dict[int, str] = {}
    # A dict for its order: a list that names an instance twice has it once.
    instances: dict[ObjectPath, None] = {}
    objects: set[int] = set()
    for link in links:
        path = _object_path(link.target, root)
        if path is None:
            continue
        objects.add(path.object_id)
        if "ver" in link.attributes:
            versions[path.object_id] = link.attributes["ver"]
        if path.instance_id is not None:
            instances[path] = None
    return RegisteredObjects(
        links, root, content_formats, versions, frozenset(objects), tuple(instances)
    )


def list_objects(
    instances: Iterable[ObjectPath],
    versions: Mapping[int, str],
    content_formats: Iterable[int] = (),
    objects_without_instance: Iterable[int] = (),
) -> RegisteredObjects:
    """The object list of a device with these instances; `versions` by object id, 1.0 left out."""
    by_object: dict[int, list[ObjectPath]] = {number: [] for number in objects_without_instance}
    for path in instances:
        by_object.setdefault(path.object_id, []).append(path.instance)
    formats = " ".join(str(number) for number in content_formats)
    links = [Link("/", {"rt": "oma.lwm2m", "ct": formats})] if formats else []
    for object_id in sorted(by_object):
        links += _object_links(object_id, by_object[object_id], versions.get(object_id))
    return read_objects(
        link_format.encode(links),
        LinkFormatLimits(payload_bytes_max=2**24, links_max=2**20),
    )


def _object_links(
    object_id: int, instances: list[ObjectPath], version: str | None
) -> Iterable[Link]:
    if version not in (None, DEFAULT_VERSION):
        yield Link(f"/{object_id}", {"ver": version})
    elif not instances:
        yield Link(f"/{object_id}")
    for path in instances:
        yield Link(str(path))


def _root(links: tuple[Link, ...]) -> tuple[str, tuple[int, ...]]:
    root = "/"
    content_formats: tuple[int, ...] = ()
    for link in links:
        if "oma.lwm2m" in link.attributes.get("rt", "").split():
            return link.target.rstrip("/") or "/", link_format.media_types(link)
        if link.target == "/":
            content_formats = link_format.media_types(link)
    return root, content_formats


def _object_path(target: str, root: str) -> ObjectPath | None:
    if root != "/":
        if not target.startswith(f"{root}/"):
            return None
        target = target.removeprefix(root)
    # Clients write trailing slashes, as examples in the standard do.
    target = target.rstrip("/")
    try:
        path = ObjectPath.parse(target) if target else None
    except IllegalPath:
        return None
    return path if path is None or path.resource_id is None else None
