"""What servers observe on one device, and which attributes they attached (LwM2M Core §6.4).

Made when the first observation or attribute comes: most devices of a fleet have neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from fake_devices.device.actions import Notify
from fake_devices.device.composite import (
    Paths,
    composite_content,
    composite_format,
    composite_nodes,
    composite_paths,
)
from fake_devices.device.discover import discover
from fake_devices.device.downlink import Served, is_write_attributes
from fake_devices.device.downlink_read import content, default_format, readable_nodes
from fake_devices.device.downlink_target import (
    Caller,
    Done,
    Refused,
    code_of,
    require_target,
    target_of,
)
from fake_devices.device.tree import ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import Node, TimedNode, content_formats, encode_timed
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectPath, resource_model
from lwm2m.reporting import (
    NO_ATTRIBUTES,
    AccessContext,
    AttributeTable,
    Notification,
    NotificationAttributes,
    Observation,
    ObservationEvent,
    ReportingRules,
    Right,
    check_consistency,
    check_placement,
    given_fields,
    override,
    parse_attributes,
    parse_observe_parameters,
    rules_for,
    server_defaults,
)

OBSERVATIONS_PER_SERVER_MAX: Final = 64
"""Observations of one server on one device; more are answered 5.03."""
_SERVER_OBJECT: Final = 1
# A notification's number has 24 bits (RFC 7641 §3.4).
_SEQUENCE_MASK: Final = 0xFFFFFF
# Formats that can say when a value was so, and hence carry several values of one path.
_WITH_TIME: Final = frozenset(
    {content_formats.SENML_JSON, content_formats.SENML_CBOR, content_formats.OMA_JSON}
)


class _Observed(msgspec.Struct, gc=False, eq=False):
    """One observation: of what, for whom, in which format, and by which parameters."""

    exchange: int
    short_server_id: int
    targets: Paths
    is_composite: bool
    content_format: int
    parameters: NotificationAttributes
    observation: Observation
    is_reachable: bool = True

    def concerns(self, touched: Collection[ObjectPath]) -> bool:
        """Whether one of the paths is, contains or lies beneath one that is observed."""
        return any(
            target is None or target.contains(path) or path.contains(target)
            for target in self.targets
            for path in touched
        )


class Observing:
    """Observations and attributes of all servers of one device."""

    __slots__ = ("_attributes", "_observed", "_sequence")

    def __init__(self) -> None:
        self._attributes = AttributeTable()
        self._observed: dict[int, _Observed] = {}
        self._sequence = 0

    @staticmethod
    def concerns(request: Request) -> bool:
        """Whether a device without observations needs an `Observing` to serve this request."""
        if request.code == codes.PUT:
            return is_write_attributes(request)
        return request.observe == 0 and request.code in (codes.GET, codes.FETCH)

    @property
    def observations(self) -> int:
        """How many there are."""
        return len(self._observed)

    def serve(
        self,
        tree: ObjectTree,
        request: Request,
        exchange: int,
        short_server_id: int,
        now: float,
    ) -> Served | None:
        """Carry out an Observe, a cancellation, a Write-Attributes, or a Discover that has
        attributes to show. None: `downlink.serve` is for it. Never raises on bad input.
        """
        operation = self._operation(request, short_server_id)
        if operation is None:
            return None
        caller = Caller.of(tree, AccessContext(short_server_id))
        try:
            if operation == "write_attributes":
                done = self._write_attributes(caller, request)
            elif operation == "discover":
                done = discover(caller, target_of(tree, request.path), request, self._attributes)
            else:
                done = Done(self._observe(caller, request, exchange, now))
        except Refused as refusal:
            done = Done(Response(refusal.code))
        except LwM2mError as error:
            done = Done(Response(code_of(error)))
        return Served(done.response, operation, "/" + "/".join(request.path))

    def evaluate(
        self,
        tree: ObjectTree,
        now: float,
        *,
        touched: Collection[ObjectPath] | None,
        unix_s: float | None = None,
    ) -> list[Notify]:
        """What is to be sent now, after the values at `touched` may have changed (None: any).

        `unix_s` stamps the history of observations that keep one; without it none is kept. Values
        must be up to date when a timer is the reason.
        """
        if touched is None or any(path.object_id == _SERVER_OBJECT for path in touched):
            self._renew_rules(tree)
        if touched is None or any(path.depth in (2, 4) for path in touched):
            self._forget_gone(tree)
        found: list[Notify] = []
        for observed in list(self._observed.values()):
            due = observed.observation.next_timer()
            is_due = due is not None and due <= now
            if is_due or touched is None or observed.concerns(touched):
                notify = self._evaluate_one(tree, observed, now, unix_s)
                if notify is not None:
                    found.append(notify)
        return found

    def next_timer(self) -> float | None:
        """When `evaluate` has to be called, with `touched` empty if nothing changed."""
        due = [each.observation.next_timer() for each in self._observed.values()]
        return min((at for at in due if at is not None), default=None)

    def exchange_ended(self, exchange: int) -> None:
        """The observer cancelled, reset or did not acknowledge a notification."""
        observed = self._observed.pop(exchange, None)
        if observed is not None:
            observed.observation.end(ObservationEvent.NOTIFICATION_FAILED)

    def server_left(self, short_server_id: int) -> list[int]:
        """A server was registered with anew, or left: its observations are gone, its attributes
        stay. Returns the exchanges that nothing will be sent on any more."""
        gone = [each for each in self._observed.values() if each.short_server_id == short_server_id]
        for observed in gone:
            observed.observation.end(ObservationEvent.SERVER_LEFT)
            del self._observed[observed.exchange]
        return [observed.exchange for observed in gone]

    def server_removed(self, short_server_id: int) -> list[int]:
        """A server's account was deleted: its attributes go as well."""
        self._attributes.forget_server(short_server_id)
        return self.server_left(short_server_id)

    def set_reachable(self, short_server_id: int, is_reachable: bool) -> None:
        """Whether notifications can be sent to a server; `evaluate` sends what was stored."""
        for observed in self._observed.values():
            if observed.short_server_id == short_server_id:
                observed.is_reachable = is_reachable
                observed.observation.set_reachable(is_reachable)

    # ---- requests ----

    def _operation(self, request: Request, server: int) -> str | None:
        if request.code == codes.PUT:
            return "write_attributes" if is_write_attributes(request) else None
        if request.code == codes.GET and request.accept == content_formats.LINK_FORMAT:
            return "discover" if self._attributes.has_any(server) else None
        if request.observe not in (0, 1) or request.code not in (codes.GET, codes.FETCH):
            return None
        if request.observe == 1:
            return "cancel_observation"
        return "observe" if request.code == codes.GET else "observe_composite"

    def _write_attributes(self, caller: Caller, request: Request) -> Done:
        tree, server = caller.tree, caller.access.short_server_id
        assert server is not None
        base = target_of(tree, request.path)
        if base.depth > 1:
            caller.require(Right.READ, base)
        if base.depth > 2 and not (tree.supports(base) if base.depth == 3 else base in tree):
            raise Refused(codes.NOT_FOUND)
        version = tree.template.lwm2m_version
        changes = parse_attributes(request.query, version)
        self._attributes.change(server, base, changes, tree.template.models, version)
        self._renew_rules(tree, server)
        return Done(Response(codes.CHANGED))

    def _observe(self, caller: Caller, request: Request, exchange: int, now: float) -> Response:
        is_composite = request.code == codes.FETCH
        targets = self._targets(caller.tree, request)
        if request.observe == 1:
            # RFC 7641 §3.6: the token says which observation ends, and CoAP has ended it; what is
            # left is a Read, whose options are those of the Observe.
            request = msgspec.structs.replace(request, query=())
        parameters = self._parameters(caller, targets, request.query, is_composite)
        nodes = _nodes(caller, targets, is_composite)
        content_format = _format(caller.tree, request)
        response = _content(caller.tree, targets, is_composite, nodes, content_format)
        if request.observe == 1:
            return response
        self._require_room(caller.access.short_server_id)
        self._add(caller, exchange, targets, is_composite, content_format, parameters, nodes, now)
        return msgspec.structs.replace(response, observe=self._next_sequence())

    @staticmethod
    def _targets(tree: ObjectTree, request: Request) -> Paths:
        if request.code == codes.FETCH:
            return composite_paths(tree, request)
        return (target_of(tree, request.path),)

    def _parameters(
        self, caller: Caller, targets: Paths, query: tuple[str, ...], is_composite: bool
    ) -> NotificationAttributes:
        tree, server = caller.tree, caller.access.short_server_id
        version = tree.template.lwm2m_version
        parameters = parse_observe_parameters(query, version, is_composite=is_composite)
        base = targets[0]
        if parameters == NO_ATTRIBUTES or is_composite or base is None or server is None:
            check_consistency(parameters)
            return parameters
        model = resource_model(tree.template.models, base)
        check_placement(given_fields(parameters), base, model, version)
        check_consistency(override(self._attributes.effective(server, base), parameters))
        return parameters

    def _require_room(self, server: int | None) -> None:
        mine = sum(1 for each in self._observed.values() if each.short_server_id == server)
        if mine >= OBSERVATIONS_PER_SERVER_MAX:
            raise Refused(codes.SERVICE_UNAVAILABLE)

    def _add(
        self,
        caller: Caller,
        exchange: int,
        targets: Paths,
        is_composite: bool,
        content_format: int,
        parameters: NotificationAttributes,
        nodes: Sequence[Node],
        now: float,
    ) -> None:
        server = caller.access.short_server_id
        assert server is not None
        rules = self._rules(caller.tree, server, targets, parameters)
        observation = Observation(rules, dict(nodes), now)
        self._observed[exchange] = _Observed(
            exchange, server, targets, is_composite, content_format, parameters, observation
        )

    # ---- notifications ----

    def _evaluate_one(
        self, tree: ObjectTree, observed: _Observed, now: float, unix_s: float | None
    ) -> Notify | None:
        caller = Caller.of(tree, AccessContext(observed.short_server_id))
        try:
            nodes = _nodes(caller, observed.targets, observed.is_composite)
            notification = observed.observation.evaluate(dict(nodes), now, unix_s or 0.0)
            if notification is None:
                return None
            response = _notified(tree, observed, nodes, notification, unix_s)
        except Refused as refusal:
            return self._end(observed, refusal.code)
        except LwM2mError as error:
            return self._end(observed, code_of(error))
        response = msgspec.structs.replace(response, observe=self._next_sequence())
        return Notify(observed.exchange, response, notification.confirmable)

    def _end(self, observed: _Observed, code: int) -> Notify | None:
        """The target is gone, or not for this server any more: RFC 7641 §4.2, an error ends it."""
        observed.observation.end(ObservationEvent.TARGET_GONE)
        del self._observed[observed.exchange]
        if not observed.is_reachable:
            return None
        return Notify(observed.exchange, Response(code), True)

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
        return self._sequence

    # ---- rules ----

    def _rules(
        self, tree: ObjectTree, server: int, targets: Paths, parameters: NotificationAttributes
    ) -> ReportingRules:
        defaults = server_defaults(server, tree.instances, tree)
        version = tree.template.lwm2m_version
        return rules_for(server, targets, parameters, self._attributes, defaults, version)

    def _renew_rules(self, tree: ObjectTree, server: int | None = None) -> None:
        for observed in self._observed.values():
            if server in (None, observed.short_server_id):
                observed.observation.set_rules(
                    self._rules(
                        tree, observed.short_server_id, observed.targets, observed.parameters
                    )
                )

    def _forget_gone(self, tree: ObjectTree) -> None:
        for path in self._attributes.paths():
            is_gone = path.depth > 1 and path.instance not in tree.instances
            if is_gone or (path.depth == 4 and path not in tree):
                self._attributes.forget(path)


def _nodes(caller: Caller, targets: Paths, is_composite: bool) -> list[Node]:
    base = targets[0]
    if is_composite or base is None:
        return composite_nodes(caller, targets)
    require_target(caller.tree, base)
    return readable_nodes(caller, base)


def _format(tree: ObjectTree, request: Request) -> int:
    if request.code == codes.FETCH:
        return composite_format(tree, request)
    return default_format(tree) if request.accept is None else request.accept


def _content(
    tree: ObjectTree,
    targets: Paths,
    is_composite: bool,
    nodes: Sequence[Node],
    content_format: int,
) -> Response:
    base = targets[0]
    if is_composite or base is None:
        return composite_content(tree, nodes, content_format)
    return content(tree, base, nodes, content_format)


def _notified(
    tree: ObjectTree,
    observed: _Observed,
    nodes: Sequence[Node],
    notification: Notification,
    unix_s: float | None,
) -> Response:
    """The content of a notification; its history only where the format has times."""
    wanted = observed.content_format
    if not notification.earlier or unix_s is None or wanted not in _WITH_TIME:
        return _content(tree, observed.targets, observed.is_composite, nodes, wanted)
    base = None if observed.is_composite else observed.targets[0]
    timed = [*_earlier(notification), *(TimedNode(*node, unix_s) for node in nodes)]
    payload = encode_timed(wanted, base, timed, tree.template.models)
    return Response(codes.CONTENT, payload, wanted)


def _earlier(notification: Notification) -> Iterable[TimedNode]:
    for report in notification.earlier:
        for path, value in report.values.items():
            yield TimedNode(path, value, report.unix_s)
