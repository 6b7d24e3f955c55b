"""Discover: which objects, instances and resources there are, with their attributes, as links.

LwM2M Core §6.3.2 for servers, §6.1.7.3 for the bootstrap server.
"""

from __future__ import annotations

from typing import Final

from fake_devices.device.downlink_target import Caller, Done, Refused, resource_at
from fake_devices.device.tree import ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import Link, content_formats, link_format
from lwm2m.objects import ObjectLink, ObjectPath
from lwm2m.reporting import NO_ATTRIBUTES, AttributeTable, NotificationAttributes, attribute_texts

_DEFAULT_VERSION: Final = "1.0"
_DEPTHS: Final = {"depth=0": 0, "depth=1": 1, "depth=2": 2, "depth=3": 3}
_SECURITY_OBJECT, _SERVER_OBJECT = 0, 1
_URI, _IS_BOOTSTRAP, _SECURITY_SHORT_SERVER_ID = 0, 1, 10
# Resources of /0 that name the OSCORE, MQTT Server and COSE instances of the same account.
_COMPANIONS: Final = (17, 26, 27)


def discover(
    caller: Caller, base: ObjectPath, request: Request, attributes: AttributeTable | None = None
) -> Done:
    """Answer a Discover; it needs no access right (LwM2M Core §8.2).

    The target shows what it inherits as well, what lies beneath only what is attached there.
    """
    tree = caller.tree
    if base.depth > 3:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    if base.depth == 3 and not _is_there(tree, base):
        raise Refused(codes.NOT_FOUND)
    levels = _levels(tree, base, request.query)
    server = caller.access.short_server_id
    links = []
    for path in _discoverable(tree, base, base.depth + levels):
        found = NO_ATTRIBUTES
        if attributes is not None and server is not None:
            found = (attributes.effective if path == base else attributes.attached)(server, path)
        links.append(_link(tree, path, found))
    return _answer(links)


def discover_for_bootstrap(tree: ObjectTree, base: ObjectPath | None) -> Done:
    """Answer a Bootstrap-Discover of everything (None) or of one object: instances, and to which
    server they belong; the bootstrap server's own account says nothing of that."""
    links = [Link("/", {"lwm2m": tree.template.lwm2m_version})]
    servers = _short_server_ids(tree)
    objects = {*tree.template.objects, *(each.object_id for each in tree.instances)}
    for object_id in sorted(objects if base is None else {base.object_id}):
        instances = tree.instances_of(object_id)
        model = tree.template.models.get(object_id)
        version = _DEFAULT_VERSION if model is None else model.version
        if version != _DEFAULT_VERSION:
            links.append(Link(f"/{object_id}", {"ver": version}))
        elif not instances:
            links.append(Link(f"/{object_id}"))
        links += [_bootstrap_link(tree, each, servers.get(each)) for each in instances]
    return _answer(links)


def is_bootstrap_account(tree: ObjectTree, security: ObjectPath) -> bool:
    """Whether an instance of /0 is the account of the bootstrap server."""
    return tree.get(security.child(_IS_BOOTSTRAP)) is True


def companions_of(tree: ObjectTree, security: ObjectPath) -> list[ObjectPath]:
    """The instances of /21, /23 and /24 that belong to an instance of /0."""
    paths = [path for number in _COMPANIONS for path in tree.values_beneath(security.child(number))]
    links = [tree[path] for path in paths]
    return [ObjectPath(*link) for link in links if isinstance(link, ObjectLink)]


def _answer(links: list[Link]) -> Done:
    payload = link_format.encode(links)
    return Done(Response(codes.CONTENT, payload, content_formats.LINK_FORMAT))


def _levels(tree: ObjectTree, base: ObjectPath, query: tuple[str, ...]) -> int:
    """How many levels beneath the target are listed. Raises `Refused` 4.00."""
    version = tree.template.lwm2m_version
    if query:
        if version < "1.2" or len(query) > 1 or query[0] not in _DEPTHS:
            raise Refused(codes.BAD_REQUEST)
        return _DEPTHS[query[0]]
    if base.depth == 1:
        return 2
    return 0 if base.depth == 3 and version < "1.1" else 1


def _is_there(tree: ObjectTree, resource: ObjectPath) -> bool:
    if resource in tree.template.executable or tree.values_beneath(resource):
        return True
    return resource_at(tree, resource).multiple and tree.supports(resource)


def _discoverable(tree: ObjectTree, base: ObjectPath, depth_max: int) -> list[ObjectPath]:
    """Paths at and beneath `base` down to `depth_max` levels, parents before children."""
    found = {base}
    for instance in tree.instances_of(base.object_id):
        if base.depth == 1 or base.instance == instance:
            found.add(instance)
    for path in (*tree.values_beneath(base), *tree.template.executable):
        if base.contains(path) and path.instance in found:
            found.add(path.resource)
            found.add(path)
    ordered = sorted(found, key=_levels_of)
    return [path for path in ordered if base.depth <= path.depth <= depth_max]


def _levels_of(path: ObjectPath) -> tuple[int, ...]:
    return tuple(level for level in path if level is not None)


def _link(tree: ObjectTree, path: ObjectPath, attributes: NotificationAttributes) -> Link:
    texts: dict[str, str] = {}
    version = tree.template.models[path.object_id].version
    if path.depth == 1 and version != _DEFAULT_VERSION:
        texts["ver"] = version
    elif path.depth == 3 and resource_at(tree, path).multiple:
        texts["dim"] = str(len(tree.values_beneath(path)))
    if attributes != NO_ATTRIBUTES:
        texts |= attribute_texts(attributes)
    return Link(str(path), texts)


def _bootstrap_link(tree: ObjectTree, instance: ObjectPath, server: int | None) -> Link:
    texts: dict[str, str] = {}
    if server is not None:
        texts["ssid"] = str(server)
        uri = tree.get(instance.child(_URI))
        if instance.object_id == _SECURITY_OBJECT and isinstance(uri, str) and uri:
            texts["uri"] = uri
    return Link(str(instance), texts)


def _short_server_ids(tree: ObjectTree) -> dict[ObjectPath, int]:
    """To which server the instances of /0, /1, /21, /23 and /24 belong."""
    found: dict[ObjectPath, int] = {}
    for instance in tree.instances:
        if instance.object_id == _SERVER_OBJECT:
            server = tree.get(instance.child(0))
            if isinstance(server, int):
                found[instance] = server
        elif instance.object_id == _SECURITY_OBJECT and not is_bootstrap_account(tree, instance):
            server = tree.get(instance.child(_SECURITY_SHORT_SERVER_ID))
            if isinstance(server, int):
                found |= dict.fromkeys([instance, *companions_of(tree, instance)], server)
    return found
