"""Topics with one device's name in them, read and written by the hundred thousand.

`contracts.topics` says what they mean; this only does its templates' work in advance.
"""

from __future__ import annotations

import re
from functools import lru_cache

from contracts.topics import EventTopic, fill

# No topic may hold it (MQTT 3.1.1 §1.5.3).
_MARK = "\0"


class EndpointTopic:
    """One template of `contracts.topics.Topics` with all its names but `endpoint` bound.

    A name that is not bound matches anything when a topic is read, as `+` does.
    """

    def __init__(self, template: str, **bound: str) -> None:
        self.filter = fill(template, **bound)
        self._marked = fill(template, endpoint=_MARK, **bound)
        levels = [_pattern(level) for level in self._marked.split("/")]
        self._pattern = re.compile("/".join(levels), re.DOTALL)

    def of(self, endpoint: str) -> str:
        """The topic of one device; every name of the template must be bound."""
        return self._marked.replace(_MARK, endpoint)

    def read(self, topic: str) -> str | None:
        """Whose topic this is, None when it is another one."""
        found = self._pattern.fullmatch(topic)
        return found[found.re.groups] if found else None


def read_event_topic(template: str, topic: str) -> EventTopic | None:
    """What a topic of the form `Topics.event` names, None when it is another one."""
    found = _event_pattern(template).fullmatch(topic)
    return EventTopic(*found.group("server", "endpoint", "kind")) if found else None


@lru_cache(maxsize=16)
def topic_of(template: str, server: str) -> EndpointTopic:
    """One server's topics, made once."""
    return EndpointTopic(template, server=server)


@lru_cache(maxsize=16)
def _event_pattern(template: str) -> re.Pattern[str]:
    levels = template.split("/")
    # A name that comes twice stands for its last level, as in the contract.
    last = {level: place for place, level in enumerate(levels) if level[:1] == "{"}
    return re.compile(
        "/".join(
            re.escape(level)
            if level not in last
            else f"(?P<{level[1:-1]}>[^/]*)"
            if last[level] == place
            else "[^/]*"
            for place, level in enumerate(levels)
        ),
        re.DOTALL,
    )


def _pattern(level: str) -> str:
    if level == _MARK:
        return "([^/]*)"
    return "[^/]*" if level == "+" else re.escape(level)
