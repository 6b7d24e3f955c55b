"""What the graph knows of a device, and how that becomes the properties that searches ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from city_platform.graph.statements import OWNED, Kind
from city_platform.stores.device_directory import DirectoryEntry
from contracts.api import FoundDevice

# Between the levels of a name: names are printable, so no name holds it.
LEVEL: Final = "\x1f"
# Attributes with a meaning of their own in the graph.
FEEDER_ATTRIBUTE: Final = "feeder"
FIRMWARE_ATTRIBUTE: Final = "firmware"
# What devices that are bound to the same node of a kind have in common.
SAME: Final[Mapping[Kind, tuple[str, ...]]] = {
    "site": ("tenant", "site"),
    "group": ("tenant", "group"),
    "model": ("model",),
    "firmware": ("model", "firmware"),
    "feeder": ("tenant", "feeder"),
}

_decoder = msgspec.json.Decoder(FoundDevice)


def found_device(entry: DirectoryEntry, firmware: str | None) -> FoundDevice:
    """The device as a search answers it. What it reported of its firmware counts more than what
    its manifest said."""
    return FoundDevice(
        **msgspec.structs.asdict(entry),
        firmware=entry.attributes.get(FIRMWARE_ATTRIBUTE, "") if firmware is None else firmware,
        feeder=entry.attributes.get(FEEDER_ATTRIBUTE, ""),
    )


def read_document(document: str) -> FoundDevice:
    """A device from its node's `document`."""
    return _decoder.decode(document)


def properties(device: FoundDevice) -> dict[str, Any]:
    """The row of one device for the statements that create or merge it."""
    return {
        "id": device.endpoint,
        "endpoint": device.endpoint,
        "tenant": device.tenant,
        "site": device.site,
        "name": device.group,
        "model": device.model,
        "firmware": device.firmware,
        "feeder": device.feeder,
        "serial": device.serial,
        "latitude": float(device.latitude),
        "longitude": float(device.longitude),
        "marks": "\n" + "".join(map(mark, device.attributes.items())),
        "text": fold("\n".join(searched_texts(device))),
        "document": msgspec.json.encode(device).decode(),
    }


def mark(attribute: tuple[str, str]) -> str:
    """A text that is in `marks` exactly if the device has this attribute with this value: JSON has
    no line end inside a text."""
    return msgspec.json.encode(list(attribute)).decode() + "\n"


def fold(text: str) -> str:
    """The text without what a search does not distinguish."""
    return text.casefold()


def searched_texts(device: FoundDevice) -> Iterator[str]:
    """What a text is looked for in."""
    yield from (device.endpoint, device.serial, device.street, device.site, device.group)
    yield from device.attributes.values()


def node_ids(device: FoundDevice) -> dict[Kind, str]:
    """The nodes that a device is bound to, by kind; none of a kind that it does not tell."""
    names: Mapping[Kind, str] = {
        "site": device.site,
        "group": device.group,
        "model": device.model,
        "feeder": device.feeder,
        "firmware": device.firmware,
    }
    above = {"firmware": device.model, **dict.fromkeys(OWNED, device.tenant)}
    return {
        kind: f"{above[kind]}{LEVEL}{name}" if kind in above else name
        for kind, name in names.items()
        if name
    }
