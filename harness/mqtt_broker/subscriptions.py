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
        self._collect(self._root, topic.split("/"), 0, topic.startswith("$"), found)
        answer = self._answers[topic] = tuple(found.items())
        return answer

    def _collect(
        self,
        level: _Level[Subscriber],
        names: list[str],
        depth: int,
        no_wildcard: bool,
        found: dict[Subscriber, int],
    ) -> None:
        if not no_wildcard and "#" in level.next:
            _merge(found, level.next["#"].here)
        if depth == len(names):
            _merge(found, level.here)
            return
        for name in (names[depth],) if no_wildcard else (names[depth], "+"):
            if name in level.next:
                self._collect(level.next[name], names, depth + 1, False, found)


def _merge(found: dict[Subscriber, int], more: dict[Subscriber, int]) -> None:
    for subscriber, qos in more.items():
        found[subscriber] = max(qos, found.get(subscriber, 0))
