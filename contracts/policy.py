"""Who may publish and read which topics: data, enforced on every broker."""

from __future__ import annotations

import msgspec

from contracts.names import Principal, PrincipalKind
from contracts.topics import Topics, fill, filter_covers, filter_matches


class Policy(msgspec.Struct, frozen=True):
    """The topic filters of one principal."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def may_publish(self, topic: str) -> bool:
        """Whether a message to `topic` is allowed."""
        return any(filter_matches(allowed, topic) for allowed in self.publish)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether a subscription is allowed: all that it could match must be."""
        return any(filter_covers(allowed, topic_filter) for allowed in self.subscribe)

    def may_read(self, topic: str) -> bool:
        """Whether a message on `topic` may be delivered."""
        return any(filter_matches(allowed, topic) for allowed in self.subscribe)


# Per kind: the names of `Topics` it publishes to, those it reads, and whether `{endpoint}` and
# `{server}` are bound to its own. A bridge hears every command topic: it must ignore most of them.
# Nobody publishes `lifecycle`: it is the broker's own.
POLICY_TABLE: dict[PrincipalKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "device": (("state", "alarm", "presence"), ()),
    "bridge": (
        ("event", "bridge_status"),
        ("credentials", "command", "held_command", "holder"),
    ),
    "bootstrap": (("credentials",), ("event",)),
    "ingestion": ((), ("state", "alarm", "presence", "lifecycle")),
    "control": (("command", "held_command", "holder"), ("event", "bridge_status")),
    "audit": ((), ("event", "command", "held_command")),
    "tap": (
        (),
        (
            "event",
            "credentials",
            "command",
            "held_command",
            "holder",
            "state",
            "alarm",
            "presence",
            "bridge_status",
        ),
    ),
}


def policy_for(principal: Principal, topics: Topics) -> Policy:
    """The filters that `principal` may use in an installation with these topics."""
    own: dict[str, str] = {}
    if principal.kind == "device":
        own["endpoint"] = principal.identity
    elif principal.kind == "bridge":
        own["server"] = principal.server
    publish, subscribe = POLICY_TABLE[principal.kind]
    return Policy(
        publish=tuple(fill(getattr(topics, name), **own) for name in publish),
        subscribe=tuple(fill(getattr(topics, name), **own) for name in subscribe),
    )
