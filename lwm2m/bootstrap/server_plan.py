"""What a bootstrap server writes to a device, and in which requests (LwM2M Core §6.1.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, Literal

import msgspec

from lwm2m.coap import codes
from lwm2m.coap.requests import Request
from lwm2m.codecs import Link, Node, content_formats, encode_payload
from lwm2m.errors import IllegalPath
from lwm2m.objects import Models, ObjectPath

Operation = Literal["discover", "delete", "write", "read", "finish"]

SECURITY_OBJECT: Final = 0
SERVER_OBJECT: Final = 1
# Clients keep their bootstrap account in /0/0 or /0/1: without a Discover stay clear of both.
_FIRST_INSTANCE_UNSEEN: Final = 2


class ServerAccountPlan(msgspec.Struct, frozen=True, gc=False):
    """A server that the device is to register with: its /0 and /1 instances.

    `security_mode` as in /0/x/2 (0 PSK, 2 X.509, 3 NoSec); `identity` is the PSK identity or the
    device's certificate, `secret_key` the key, `server_public_key` the server's certificate.
    """

    short_server_id: int
    uri: str
    lifetime_s: int = 86_400
    binding: str = "U"
    security_mode: int = 3
    identity: bytes = b""
    server_public_key: bytes = b""
    secret_key: bytes = b""

    def __repr__(self) -> str:
        return f"ServerAccountPlan(short_server_id={self.short_server_id}, uri={self.uri!r}, …)"


class BootstrapPlan(msgspec.Struct, frozen=True):
    """What one device is to hold, and how it gets there.

    First a Discover (when `discovers`), then `deletes` in order (None is `/`), then `accounts` and
    `nodes` instance by instance, then `reads`, whose answers are told, then Finish.
    `content_format` None: what the client prefers, or what its version speaks.
    """

    accounts: tuple[ServerAccountPlan, ...] = ()
    nodes: tuple[Node, ...] = ()
    deletes: tuple[ObjectPath | None, ...] = (
        ObjectPath(SECURITY_OBJECT),
        ObjectPath(SERVER_OBJECT),
    )
    reads: tuple[ObjectPath, ...] = ()
    discovers: bool = True
    content_format: int | None = None


class Step(msgspec.Struct, frozen=True, gc=False):
    """One request of a bootstrap session; `path` None is the root."""

    operation: Operation
    path: ObjectPath | None
    request: Request
    # A client that cannot do it is bootstrapped all the same.
    may_be_refused: bool = False


# The only answer that says yes.
SUCCESS: Final[dict[Operation, int]] = {
    "discover": codes.CONTENT,
    "delete": codes.DELETED,
    "write": codes.CHANGED,
    "read": codes.CONTENT,
    "finish": codes.CHANGED,
}
FINISH: Final = Step("finish", None, Request(codes.POST, ("bs",)))


# Instance and Short Server ID; a bootstrap account has none.
Instances = tuple[tuple[int, int | None], ...]


class Discovered(msgspec.Struct, frozen=True):
    """What a Bootstrap-Discover told: the LwM2M version, and /0 and /1 instances by server."""

    lwm2m_version: str | None = None
    security_instances: Instances = ()
    server_instances: Instances = ()


def read_discovery(links: Iterable[Link]) -> Discovered:
    """What the links say; the older form without a root link has no version.

    Links that are no paths, or whose `ssid` is no number, tell nothing and are passed over.
    """
    version: str | None = None
    instances: dict[int, list[tuple[int, int | None]]] = {SECURITY_OBJECT: [], SERVER_OBJECT: []}
    for link in links:
        if link.target in ("/", ""):
            version = link.attributes.get("lwm2m")
            continue
        try:
            path = ObjectPath.parse(link.target)
        except IllegalPath:
            continue
        if path.object_id in instances and path.instance_id is not None and path.depth == 2:
            ssid = link.attributes.get("ssid", "")
            short_server_id = int(ssid) if ssid.isascii() and ssid.isdigit() else None
            instances[path.object_id].append((path.instance_id, short_server_id))
    return Discovered(version, tuple(instances[SECURITY_OBJECT]), tuple(instances[SERVER_OBJECT]))


def first_steps(plan: BootstrapPlan) -> list[Step]:
    """What comes before the plan can be laid out: a Discover, if the plan wants one."""
    if not plan.discovers:
        return []
    request = Request(codes.GET, (), accept=content_formats.LINK_FORMAT)
    return [Step("discover", None, request, may_be_refused=True)]


def remaining_steps(
    plan: BootstrapPlan, discovered: Discovered | None, preferred_format: int | None, models: Models
) -> list[Step]:
    """Everything after the Discover, up to Finish.

    Raises `InvalidValue`, `IllegalPath` or `UnsupportedContentFormat` for a plan that cannot be
    written.
    """
    content_format = _choose_format(plan, discovered, preferred_format)
    steps = [
        Step("delete", path, Request(codes.DELETE, () if path is None else path.segments))
        for path in plan.deletes
    ]
    for instance, nodes in _by_instance(planned_nodes(plan, discovered)):
        payload = encode_payload(content_format, instance, nodes, models)
        request = Request(
            codes.PUT, instance.segments, content_format=content_format, payload=payload
        )
        steps.append(Step("write", instance, request))
    steps += [
        Step("read", path, Request(codes.GET, path.segments, accept=content_format))
        for path in plan.reads
    ]
    return [*steps, FINISH]


def encode_pack(plan: BootstrapPlan, content_format: int, models: Models) -> bytes:
    """The plan as the payload of a Bootstrap-Pack. Raises as `remaining_steps`."""
    return encode_payload(content_format, None, planned_nodes(plan, None), models)


def planned_nodes(plan: BootstrapPlan, discovered: Discovered | None) -> list[Node]:
    """All values of a plan, the accounts at instances that leave the bootstrap account alone."""
    security = _Instances(plan, SECURITY_OBJECT, _known(discovered, SECURITY_OBJECT))
    server = _Instances(plan, SERVER_OBJECT, _known(discovered, SERVER_OBJECT))
    nodes: list[Node] = []
    for account in plan.accounts:
        nodes += _security_nodes(account, security.take(account.short_server_id))
        nodes += _server_nodes(account, server.take(account.short_server_id))
    return [*nodes, *plan.nodes]


def _known(discovered: Discovered | None, object_id: int) -> Instances | None:
    if discovered is None:
        return None
    if object_id == SECURITY_OBJECT:
        return discovered.security_instances
    return discovered.server_instances


class _Instances:
    """Instances of /0 or /1 for accounts: the one that a server has already, or a free one."""

    def __init__(self, plan: BootstrapPlan, object_id: int, known: Instances | None) -> None:
        given = {node.path.instance_id for node in plan.nodes if node.path.object_id == object_id}
        self._taken = {number for number in given if number is not None}
        self._of_server: dict[int, int] = {}
        is_unseen = known is None and object_id == SECURITY_OBJECT
        self._first = _FIRST_INSTANCE_UNSEEN if is_unseen else 0
        is_deleted = None in plan.deletes or ObjectPath(object_id) in plan.deletes
        for instance_id, short_server_id in known or ():
            if short_server_id is None:
                # The bootstrap account, which no Delete removes.
                self._taken.add(instance_id)
            elif not is_deleted:
                self._taken.add(instance_id)
                self._of_server[short_server_id] = instance_id

    def take(self, short_server_id: int) -> int:
        known = self._of_server.get(short_server_id)
        if known is not None:
            return known
        number = self._first
        while number in self._taken:
            number += 1
        self._taken.add(number)
        return number


def _security_nodes(account: ServerAccountPlan, instance_id: int) -> Iterator[Node]:
    base = ObjectPath(SECURITY_OBJECT, instance_id)
    yield Node(base.child(0), account.uri)
    yield Node(base.child(1), False)
    yield Node(base.child(2), account.security_mode)
    yield Node(base.child(3), account.identity)
    yield Node(base.child(4), account.server_public_key)
    yield Node(base.child(5), account.secret_key)
    yield Node(base.child(10), account.short_server_id)


def _server_nodes(account: ServerAccountPlan, instance_id: int) -> Iterator[Node]:
    base = ObjectPath(SERVER_OBJECT, instance_id)
    yield Node(base.child(0), account.short_server_id)
    yield Node(base.child(1), account.lifetime_s)
    # Notifications are kept while the device is offline.
    yield Node(base.child(6), True)
    yield Node(base.child(7), account.binding)


def _by_instance(nodes: Sequence[Node]) -> Iterator[tuple[ObjectPath, list[Node]]]:
    ordered = sorted(nodes, key=lambda node: node.path)
    for instance, found in groupby(ordered, key=lambda node: node.path.instance):
        yield instance, list(found)


def _choose_format(
    plan: BootstrapPlan, discovered: Discovered | None, preferred_format: int | None
) -> int:
    if plan.content_format is not None:
        return plan.content_format
    if preferred_format is not None:
        return preferred_format
    version = None if discovered is None else discovered.lwm2m_version
    # LwM2M 1.0 has no SenML, and TLV is what every older client reads.
    return content_formats.TLV if version in (None, "1.0") else content_formats.SENML_CBOR
