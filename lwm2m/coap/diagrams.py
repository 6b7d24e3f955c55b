"""The state tables of this package as text for the pages: a diagram and a full table of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lwm2m.coap.states import RECEIVED_TRANSITIONS, SENT_TRANSITIONS

_IMPOSSIBLE = "·"
State = TypeVar("State", bound=str)
Event = TypeVar("Event", bound=str)


def state_diagram(
    table: Mapping[State, Mapping[Event, State]], start: str, end: str = "ended"
) -> str:
    """A Mermaid diagram of a table: one arrow for all events between the same two states."""
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for state, row in table.items():
        events_to: dict[State, list[Event]] = {}
        for event, following in row.items():
            events_to.setdefault(following, []).append(event)
        for following, events in events_to.items():
            lines.append(f"    {state} --> {following}: {', '.join(events)}")
    lines.append(f"    {end} --> [*]")
    return "\n".join(lines)


def state_table(table: Mapping[State, Mapping[Event, State]]) -> str:
    """Every cell as Markdown: states down, events across; `·` where an event cannot happen."""
    events = list(dict.fromkeys(event for row in table.values() for event in row))
    lines = [
        f"| event | {' | '.join(table)} |",
        f"|---|{'---|' * len(table)}",
    ]
    for event in events:
        cells = (table[state].get(event, _IMPOSSIBLE) for state in table)
        lines.append(f"| {event} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coap_states_page() -> str:
    """Both tables of CoAP exchanges, as diagrams and in full."""
    sent = _section("A request that we sent", SENT_TRANSITIONS, "queued")
    received = _section("A request that we received", RECEIVED_TRANSITIONS, "pending")
    return f"{sent}\n\n{received}\n"


def _section(title: str, table: Mapping[State, Mapping[Event, State]], start: str) -> str:
    diagram = state_diagram(table, start)
    return f"### {title}\n\n```mermaid\n{diagram}\n```\n\n{state_table(table)}"
