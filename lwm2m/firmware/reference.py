"""The reference page of firmware updates, printed from the tables."""

from __future__ import annotations

from lwm2m.firmware.download import PROTOCOLS
from lwm2m.firmware.package import FORMAT, MAGIC
from lwm2m.firmware.states import (
    FIRMWARE_TRANSITIONS,
    STATE_NUMBERS,
    FirmwareResult,
    firmware_diagram,
)


def firmware_page() -> str:
    """What a simulated device does with object 5, as Markdown."""
    states = [f"| {number} | {state} |" for state, number in STATE_NUMBERS.items()]
    results = [
        f"| {int(each)} | {each.name.lower().replace('_', ' ')} |" for each in FirmwareResult
    ]
    protocols = [f"| {number} | {scheme} |" for scheme, number in PROTOCOLS.items()]
    refused = [
        f"| {state} | {', '.join(event for event, step in row.items() if step is None)} |"
        for state, row in FIRMWARE_TRANSITIONS.items()
    ]
    return "\n".join(
        [
            "# Firmware update (object 5)",
            "",
            "A package comes by push (a write of `/5/0/0`) or by pull (a URI in `/5/0/1`, fetched",
            "block by block and resumed after a break). It is checked, installed when `/5/0/2` is",
            "executed, and reported after the reboot has led to a new registration.",
            "",
            "```mermaid",
            firmware_diagram().rstrip(),
            "```",
            "",
            *_table("State `/5/0/3`", "Meaning", states),
            *_table("Result `/5/0/5`", "Meaning", results),
            *_table("Protocol `/5/0/8`", "Scheme", protocols),
            "What does not happen, or is answered 4.05, in each state:",
            "",
            *_table("State", "Events", refused),
            "## Packages of simulated devices",
            "",
            "A format of our own, big-endian, without padding:",
            "",
            *_table("Bytes", "Content", _layout()),
        ]
    )


def _layout() -> list[str]:
    return [
        f"| {len(MAGIC)} | `{MAGIC.decode()}` |",
        f"| 1 | format number, {FORMAT} |",
        "| 1, then that many | name: the model it is for, UTF-8 |",
        "| 1, then that many | version: what `/3/0/3` says after the update, UTF-8 |",
        "| 4 | length of the image |",
        "| 32 | SHA-256 of all bytes before it, and of the image |",
        "| the rest | the image: anything |",
    ]


def _table(first: str, second: str, rows: list[str]) -> list[str]:
    return [f"| {first} | {second} |", "|---|---|", *rows, ""]
