"""Where messages go on MQTT: the topic templates (configuration) and how to fill and read them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from contracts.errors import ContractError


class EventTopic(NamedTuple):
    """What an event topic names."""

    server: str
    endpoint: str
    kind: str


class Topics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topic templates of one installation; every level is literal or one `{name}`.

    Defaults are DESIGN's table. `server`, `endpoint` and `kind` are the names that may appear.
    """

    event: str = "lwm2m/{server}/{endpoint}/event/{kind}"
    credentials: str = "lwm2m/{server}/{endpoint}/credentials"
    command: str = "lwm2m/{endpoint}/command"
    held_command: str = "lwm2m/{server}/{endpoint}/command"
    holder: str = "lwm2m/{server}/{endpoint}/holder"
    state: str = "devices/{endpoint}/state"
    alarm: str = "devices/{endpoint}/alarm"
    presence: str = "devices/{endpoint}/presence"
    bridge_status: str = "bridges/{server}/status"
    # What a broker itself tells of connections; `kind` is connected or disconnected.
    lifecycle: str = "$aws/events/presence/{kind}/{endpoint}"

    def read_event(self, topic: str) -> EventTopic:
        """Server, endpoint and kind of an event topic. Raises `ContractError` for another topic."""
        found = match_template(self.event, topic)
        return EventTopic(found["server"], found["endpoint"], found["kind"])


def fill(template: str, **names: str) -> str:
    """The topic with every `{name}` replaced; those not given become `+` (a filter)."""
    return "/".join(
        names.get(level[1:-1], "+") if _is_name(level) else level for level in template.split("/")
    )


def match_template(template: str, topic: str) -> dict[str, str]:
    """What each `{name}` of `template` stands for in `topic`. Raises `ContractError`."""
    wanted, found = template.split("/"), topic.split("/")
    if len(wanted) != len(found) or any(
        not _is_name(level) and level != value for level, value in zip(wanted, found, strict=True)
    ):
        raise ContractError(f"topic {topic[:120]!r} is not of the form {template!r}")
    return {
        level[1:-1]: value for level, value in zip(wanted, found, strict=True) if _is_name(level)
    }


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter with `+` and `#` covers `topic` (MQTT 3.1.1 §4.7).

    `#` also covers its parent level; wildcards do not cover topics that begin with `$`.
    """
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, found = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(found) or (level != "+" and level != found[position]):
            return False
    return len(wanted) == len(found)


def filter_covers(allowed: str, asked: str) -> bool:
    """Whether every topic that filter `asked` could match is matched by filter `allowed`."""
    wanted, found = allowed.split("/"), asked.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(found) or found[position] == "#":
            return False
        if level != "+" and level != found[position]:
            return False
    return len(wanted) == len(found)


def is_topic_name(topic: str) -> bool:
    """Whether a message may be published to `topic` (MQTT 3.1.1 §4.7.3)."""
    return bool(topic) and len(topic.encode()) <= 65_535 and not set("+#\0") & set(topic)


def is_topic_filter(topic_filter: str) -> bool:
    """Whether a client may subscribe to `topic_filter` (MQTT 3.1.1 §4.7.1)."""
    levels = topic_filter.split("/")
    return (
        bool(topic_filter)
        and "\0" not in topic_filter
        and all(
            (level in ("+", "#") or not set("+#") & set(level))
            and (level != "#" or position == len(levels) - 1)
            for position, level in enumerate(levels)
        )
    )


def _is_name(level: str) -> bool:
    return level.startswith("{") and level.endswith("}")
