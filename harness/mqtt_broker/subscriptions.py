"""Which sessions want which topics: a tree of topic levels, and the answers of the last topics."""

from __future__ import annotations

from typing import Generic, TypeVar

Subscriber = TypeVar("Subscriber")

_ANSWERS_KEPT = 65_536


class _Level(Generic[Subscriber]):
    __slots__ = ("here", "next")

    def __init__(self) -> None:
        self.here: dict[Subscriber, int] = {}
        self.next: dict[str, _Level[Subscriber]] = {}


class Subscriptions(Generic[Subscriber]):
    """Topic filters of many subscribers; a subscriber appears once per topic, at its highest QoS.

    MQTT 3.1.1 §4.7: `#` covers its parent too, wildcards do not cover topics that begin with `$`.
    """

    def __init__(self) -> None:
        self._root: _Level[Subscriber] = _Level()
        self._answers: dict[str, tuple[tuple[Subscriber, int], ...]] = {}

    def add(self, topic_filter: str, subscriber: Subscriber, qos: int) -> None:
        """Subscribe, or change the QoS of a subscription."""
        level = self._root
        for name in topic_filter.split("/"):
            level = level.next.setdefault(name, _Level())
        level.here[subscriber] = qos
        self._answers.clear()

    def remove(self, topic_filter: str, subscriber: Subscriber) -> None:
        """Unsubscribe; nothing happens when there was no such subscription."""
        path: list[tuple[_Level[Subscriber], str]] = []
        level = self._root
        for name in topic_filter.split("/"):
            if name not in level.next:
                return
            path.append((level, name))
            level = level.next[name]
        level.here.pop(subscriber, None)
        for parent, name in reversed(path):
            child = parent.next[name]
            if child.here or child.next:
                break
            del parent.next[name]
        self._answers.clear()

    def match(self, topic: str) -> tuple[tuple[Subscriber, int], ...]:
        """(subscriber, QoS) of everybody who wants `topic`."""
        known = self._answers.get(topic)
        if known is not None:
            return known
        if len(self._answers) >= _ANSWERS_KEPT:
            self._answers.clear()
        found: dict[Subscriber, int] = {}
        self._collect(topic, found)
        answer = self._answers[topic] = tuple(found.items())
        return answer

    def _collect(self, topic: str, found: dict[Subscriber, int]) -> None:
        """Walk all branches of the tree abreast, one level of the topic after the other."""
        branches = [self._root]
        takes_wildcards = not topic.startswith("$")
        for name in topic.split("/"):
            following = []
            for branch in branches:
                get = branch.next.get
                if (exact := get(name)) is not None:
                    following.append(exact)
                if takes_wildcards:
                    if (any_name := get("+")) is not None:
                        following.append(any_name)
                    if (any_rest := get("#")) is not None:
                        _merge(found, any_rest.here)
            if not following:
                return
            branches, takes_wildcards = following, True
        for branch in branches:
            _merge(found, branch.here)
            if (any_rest := branch.next.get("#")) is not None:
                _merge(found, any_rest.here)


def _merge(found: dict[Subscriber, int], more: dict[Subscriber, int]) -> None:
    for subscriber, qos in more.items():
        found[subscriber] = max(qos, found.get(subscriber, 0))
