"""Prints docs/design/states.md: every state machine of LwM2M and CoAP, from its table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from fake_devices.device import uplink
from harness.lwm2m_server import commands, observations
from lwm2m.bootstrap.server_session import SESSION_TRANSITIONS, SessionState
from lwm2m.bootstrap.states import BOOTSTRAP_TRANSITIONS, BootstrapState
from lwm2m.coap.states import RECEIVED_TRANSITIONS, SENT_TRANSITIONS
from lwm2m.firmware.reference import firmware_page
from lwm2m.registration.queue_mode import (
    QUEUE_MODE_TRANSITIONS,
    SLEEPER_TRANSITIONS,
    QueueModeState,
)
from lwm2m.registration.states import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientState,
    ServerState,
)
from lwm2m.reporting.observation_states import OBSERVATION_TRANSITIONS, ObservationState
from lwm2m.transport.reliable import signaling

PAGE: Final = "docs/design/states.md"
_NOTHING: Final = "·"
Table = Mapping[Any, Mapping[Any, Any]]


class Machine(NamedTuple):
    """A state machine: its title, what it is the state of, where it is kept, and its table."""

    title: str
    about: str
    source: str
    table: Table
    start: Any


MACHINES: Final = (
    Machine(
        "A request that was sent", "One CoAP request of ours, until its answer (RFC 7252 §4, §5).",
        "lwm2m/coap/states.py", SENT_TRANSITIONS, "queued",
    ),
    Machine(
        "A request that was received", "One CoAP request of a peer's, and the observation that it "
        "may have become (RFC 7641).", "lwm2m/coap/states.py", RECEIVED_TRANSITIONS, "pending",
    ),
    Machine(
        "A connection of CoAP over TCP", "From its first byte; an endpoint sends no request before "
        "the peer's CSM (RFC 8323 §5.3).", "lwm2m/transport/reliable/signaling.py",
        signaling.TRANSITIONS, next(iter(signaling.TRANSITIONS)),
    ),
    Machine(
        "Registration, at the device", "With one server (LwM2M Core §6.2).",
        "lwm2m/registration/states.py", CLIENT_TRANSITIONS, ClientState.UNREGISTERED,
    ),
    Machine(
        "Registration, at the server", "One registration id (LwM2M Core §6.2).",
        "lwm2m/registration/states.py", SERVER_TRANSITIONS, ServerState.ABSENT,
    ),
    Machine(
        "Queue mode, as the server sees it", "One client (LwM2M Core §6.5).",
        "lwm2m/registration/queue_mode.py", QUEUE_MODE_TRANSITIONS, QueueModeState.ALWAYS_ON,
    ),
    Machine(
        "Queue mode, at the device", "A client in queue mode, as it sees itself.",
        "lwm2m/registration/queue_mode.py", SLEEPER_TRANSITIONS, QueueModeState.AWAKE,
    ),
    Machine(
        "Bootstrap, at the device", "With its bootstrap server (LwM2M Core §6.1).",
        "lwm2m/bootstrap/states.py", BOOTSTRAP_TRANSITIONS, BootstrapState.IDLE,
    ),
    Machine(
        "Bootstrap, at its server", "One session.", "lwm2m/bootstrap/server_session.py",
        SESSION_TRANSITIONS, SessionState.REQUESTED,
    ),
    Machine(
        "Observation, at the device", "What is to be notified, and whether it may be now (LwM2M "
        "Core §5.1.2, §6.4).", "lwm2m/reporting/observation_states.py", OBSERVATION_TRANSITIONS,
        ObservationState.WATCHING,
    ),
    Machine(
        "Observation, at the server emulator", "One that a command began; it outlives a restart.",
        "harness/lwm2m_server/observations.py", observations.TRANSITIONS,
        next(iter(observations.TRANSITIONS)),
    ),
    Machine(
        "Command, at the server emulator", "From the bridge or the administration to its outcome.",
        "harness/lwm2m_server/commands.py", commands.TRANSITIONS, next(iter(commands.TRANSITIONS)),
    ),
    Machine(
        "The MQTT connection of a device", "From its account on.", "fake_devices/device/uplink.py",
        uplink.TRANSITIONS, uplink.UplinkState.UNCONFIGURED,
    ),
)  # fmt: skip


def states_page() -> str:
    """The page: a diagram and the full table of each machine, then firmware updates."""
    sections = "\n\n".join(map(_section, MACHINES))
    # The page of firmware updates is one of its own elsewhere: here it is a section.
    firmware = firmware_page().replace("\n## ", "\n### ").replace("# Firmware", "## Firmware", 1)
    contents = [f"- [{each.title}](#{_anchor(each.title)})" for each in MACHINES]
    return "\n".join(
        [
            "# States",
            "",
            "Printed from the tables that the code runs by (`python -m harness.reference_pages`);",
            f"tests walk every cell. In a table `{_NOTHING}` is an event that changes nothing in",
            "that state, or that cannot happen there.",
            "",
            *contents,
            "- [Firmware update (object 5)](#firmware-update-object-5)",
            "",
            sections,
            "",
            firmware.rstrip(),
            "",
        ]
    )


def _section(machine: Machine) -> str:
    return "\n".join(
        [
            f"## {machine.title}",
            "",
            f"{machine.about} `{machine.source}`",
            "",
            "```mermaid",
            *_diagram(machine),
            "```",
            "",
            *_full_table(machine),
        ]
    )


def _diagram(machine: Machine) -> list[str]:
    lines = ["stateDiagram-v2", f"    [*] --> {_name(machine.start)}"]
    for state, row in machine.table.items():
        events_to: dict[str, list[str]] = {}
        for event, step in row.items():
            following = _following(step)
            if following is not None:
                events_to.setdefault(following, []).append(_name(event))
        for following, events in events_to.items():
            lines.append(f"    {_name(state)} --> {following}: {', '.join(events)}")
    lines += [
        f"    {_name(state)} --> [*]"
        for state, row in machine.table.items()
        if not any(_following(step) for step in row.values())
    ]
    return lines


def _full_table(machine: Machine) -> list[str]:
    table = machine.table
    events = list(dict.fromkeys(event for row in table.values() for event in row))
    lines = [
        f"| event | {' | '.join(_name(state) for state in table)} |",
        f"|---|{'---|' * len(table)}",
    ]
    for event in events:
        cells = [_following(row.get(event)) or _NOTHING for row in table.values()]
        lines.append(f"| {_name(event)} | {' | '.join(cells)} |")
    return lines


def _following(step: object) -> str | None:
    """The state that a cell leads to; some tables say beside it what is done on the way."""
    if step is None:
        return None
    return _name(getattr(step, "state", step))


def _name(member: Any) -> str:
    if not isinstance(member, Enum):
        return str(member)
    return member.value if isinstance(member.value, str) else member.name.lower()


def _anchor(title: str) -> str:
    return "".join(
        each for each in title.lower().replace(" ", "-") if each.isalnum() or each == "-"
    )
