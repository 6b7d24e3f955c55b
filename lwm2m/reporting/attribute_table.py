"""Which notification attributes are attached where, for each server, and what holds at a path."""

from __future__ import annotations

from lwm2m.objects import Models, ObjectPath, resource_model
from lwm2m.reporting.attributes import (
    NO_ATTRIBUTES,
    AttributeChanges,
    NotificationAttributes,
    check_consistency,
    check_placement,
    override,
    with_changes,
)

_OfServer = dict[ObjectPath, NotificationAttributes]


class AttributeTable:
    """Attributes by short server id and path: those of one server say nothing to another.

    Lower levels win over higher ones (LwM2M Core §5.1.2).
    """

    __slots__ = ("_attached",)

    def __init__(self) -> None:
        self._attached: dict[int, _OfServer] = {}

    def __len__(self) -> int:
        return sum(len(attached) for attached in self._attached.values())

    def change(
        self,
        short_server_id: int,
        path: ObjectPath,
        changes: AttributeChanges,
        models: Models,
        lwm2m_version: str,
    ) -> None:
        """Attach and remove attributes at `path`, all or none.

        Raises `MalformedAttribute` when one cannot be there, or contradicts those that hold there.
        """
        fields = [field for field, value in changes.items() if value is not None]
        check_placement(fields, path, resource_model(models, path), lwm2m_version)
        attached = self._attached.get(short_server_id, {})
        changed = with_changes(attached.get(path, NO_ATTRIBUTES), changes)
        check_consistency(override(_inherited(attached, path), changed))
        if changed != NO_ATTRIBUTES:
            self._attached.setdefault(short_server_id, attached)[path] = changed
        elif path in attached:
            self._remove(short_server_id, path)

    def attached(self, short_server_id: int, path: ObjectPath) -> NotificationAttributes:
        """What was attached at exactly this path."""
        return self._attached.get(short_server_id, {}).get(path, NO_ATTRIBUTES)

    def effective(self, short_server_id: int, path: ObjectPath) -> NotificationAttributes:
        """What holds at `path`: attached there or inherited from the levels above."""
        attached = self._attached.get(short_server_id)
        if attached is None:
            return NO_ATTRIBUTES
        return override(_inherited(attached, path), attached.get(path, NO_ATTRIBUTES))

    def has_any(self, short_server_id: int) -> bool:
        """Whether this server attached anything."""
        return short_server_id in self._attached

    def forget(self, path: ObjectPath) -> None:
        """What was at `path` and beneath is gone, and the attributes with it."""
        for server, attached in list(self._attached.items()):
            for each in [each for each in attached if path.contains(each)]:
                self._remove(server, each)

    def forget_server(self, short_server_id: int) -> None:
        """The server's account is gone."""
        self._attached.pop(short_server_id, None)

    def paths(self) -> frozenset[ObjectPath]:
        """Every path that has attributes."""
        return frozenset(path for attached in self._attached.values() for path in attached)

    def _remove(self, server: int, path: ObjectPath) -> None:
        attached = self._attached[server]
        del attached[path]
        if not attached:
            del self._attached[server]


def _inherited(attached: _OfServer, path: ObjectPath) -> NotificationAttributes:
    found = NO_ATTRIBUTES
    for level in (path.object, path.instance, path.resource)[: path.depth - 1]:
        above = attached.get(level)
        if above is not None:
            found = override(found, above)
    return found
