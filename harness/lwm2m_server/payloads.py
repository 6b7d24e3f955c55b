"""What goes into requests and what comes back: content formats chosen, values written and read.

All of it by one device: its LwM2M version, the formats it announced, the versions of its objects,
the path that its objects lie under.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from contracts.data_interface import Command, ObjectLink, Value
from harness.lwm2m_server.alternate_path import add_root, strip_root, without_root
from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.packs import PackWriter
from harness.lwm2m_server.values import ValueReader
from lwm2m.codecs import (
    Node,
    content_formats,
    decode_timed,
    encode_composite_write,
    encode_paths,
    encode_payload,
    link_format,
)
from lwm2m.objects import Models, ObjectPath
from lwm2m.registration import RegisteredObjects

ModelsFor = Callable[[Mapping[int, str]], Models]

# The formats of many values that a server asks for and writes, best first (LwM2M Core §7.5: TLV is
# what every 1.0 client has, the SenML formats are those of later ones).
_PREFERRED: Final[dict[str, tuple[int, ...]]] = {
    "1.0": (content_formats.TLV, content_formats.OMA_JSON),
    "1.1": (content_formats.SENML_CBOR, content_formats.SENML_JSON, content_formats.TLV),
    "1.2": (
        content_formats.SENML_CBOR,
        content_formats.LWM2M_CBOR,
        content_formats.SENML_JSON,
        content_formats.TLV,
    ),
}
_COMPOSITE: Final = frozenset(
    {content_formats.SENML_CBOR, content_formats.LWM2M_CBOR, content_formats.SENML_JSON}
)
# The SenML format of values that goes with a format of paths or of a composite write.
_ANSWERED_IN: Final = {
    content_formats.SENML_ETCH_JSON: content_formats.SENML_JSON,
    content_formats.SENML_ETCH_CBOR: content_formats.SENML_CBOR,
}
# The SenML format that can also remove (RFC 8790 is SenML's "ETCH").
_REMOVING: Final = {
    content_formats.SENML_JSON: content_formats.SENML_ETCH_JSON,
    content_formats.SENML_CBOR: content_formats.SENML_ETCH_CBOR,
}


# Combinations of versions of objects, of which a fleet has a handful.
_READERS_KEPT: Final = 64
# Lists of objects that devices registered: a model has one before its credentials and one after.
_TARGETS_KEPT: Final = 256
# Paths that requests go to: a fleet has few.
_PATHS_KEPT: Final = 4_096


class Target(NamedTuple):
    """A device as payloads depend on it. `root` is without a slash at its end, so `""` for `/`."""

    lwm2m_version: str
    models: Models
    root: str = ""
    content_formats: tuple[int, ...] = ()

    def segments(self, path: ObjectPath | None) -> tuple[str, ...]:
        """The Uri-Path of an object path; None is the root."""
        below = () if path is None else _segments(path)
        return (*self.root.split("/")[1:], *below) if self.root else below

    def preferred_format(self, *, is_composite: bool = False) -> int:
        """The format to use when the command names none."""
        return _preferred_format(self.lwm2m_version, self.content_formats, is_composite)


@lru_cache(_TARGETS_KEPT)
def _preferred_format(lwm2m_version: str, announced: tuple[int, ...], is_composite: bool) -> int:
    preferred = _PREFERRED[lwm2m_version]
    if is_composite:
        preferred = tuple(one for one in preferred if one in _COMPOSITE)
    return next((one for one in preferred if one in announced), preferred[0])


@lru_cache(_PATHS_KEPT)
def _segments(path: ObjectPath) -> tuple[str, ...]:
    return path.segments


class Payloads:
    """Values of commands to payloads, and payloads to values; definitions from `models_for`."""

    def __init__(self, models_for: ModelsFor) -> None:
        self._models_for = models_for
        # By their identity, which lasts as long as the reader holds them.
        self._readers: dict[int, ValueReader] = {}
        self._pack_writers: dict[int, PackWriter] = {}
        # By the identity of what was registered, which lasts as long as it is kept here.
        self._targets: dict[int, tuple[RegisteredObjects, Target]] = {}

    def reader(self, models: Models) -> ValueReader:
        """The reader of values by these definitions."""
        found = self._readers.get(id(models))
        if found is None:
            if len(self._readers) >= _READERS_KEPT:
                self._readers.clear()
                self._pack_writers.clear()
            found = self._readers[id(models)] = ValueReader(models)
        return found

    def target(self, device: Device | None) -> Target:
        """The device as payloads depend on it; None is one that has left meanwhile."""
        if device is None:
            return Target("1.1", self._models_for({}))
        held = device.held
        objects = held.objects
        known = self._targets.get(id(objects))
        if known is not None and known[1].lwm2m_version == held.lwm2m_version:
            return known[1]
        if len(self._targets) >= _TARGETS_KEPT:
            self._targets.clear()
        found = Target(
            held.lwm2m_version,
            self._models_for(objects.versions),
            "" if objects.root == "/" else objects.root,
            objects.content_formats,
        )
        self._targets[id(objects)] = objects, found
        return found

    def pack(
        self,
        target: Target,
        addressed: ObjectPath,
        beneath: ObjectPath,
        values: Sequence[Value],
        *,
        is_new: bool,
    ) -> bytes | None:
        """The SenML CBOR payload of a Write or Create; None where it takes the long way: `write`
        with what `reader` makes of the values."""
        if target.root:
            return None
        writer = self._pack_writers.get(id(target.models))
        if writer is None:
            writer = PackWriter(self.reader(target.models))
            self._pack_writers[id(target.models)] = writer
        return writer.pack(addressed, beneath, values, is_new=is_new)

    def write(
        self, target: Target, content_format: int, base: ObjectPath | None, nodes: Sequence[Node]
    ) -> bytes:
        """The payload of a Write or Create. Raises `LwM2mError`."""
        payload = encode_payload(content_format, base, nodes, target.models)
        return self._rooted(target, content_format, payload)

    def write_composite(
        self,
        target: Target,
        content_format: int,
        nodes: Sequence[Node],
        removed: Sequence[ObjectPath],
    ) -> bytes:
        """The payload of a Write-Composite. Raises `LwM2mError`."""
        payload = encode_composite_write(content_format, nodes, removed, target.models)
        return self._rooted(target, content_format, payload)

    def write_paths(
        self, target: Target, content_format: int, paths: Sequence[ObjectPath | None]
    ) -> bytes:
        """The payload of a Read-Composite or Observe-Composite. Raises `LwM2mError`."""
        return self._rooted(target, content_format, encode_paths(content_format, paths))

    def read(
        self,
        target: Target,
        content_format: int | None,
        base: ObjectPath | None,
        payload: bytes,
        received_at_s: float | None = None,
    ) -> list[Value]:
        """The values that a device sent for `base` (None: for several paths). Raises `LwM2mError`.

        Those of secret resources are left out. `received_at_s` (Unix time) is what times that are
        relative count from.
        """
        if not payload and content_format is None:
            return []  # LwM2M Core §6.3.1: nothing readable beneath the path is a success
        if target.root:
            payload = strip_root(target.root, content_format, payload)
        nodes = decode_timed(content_format, base, payload, target.models, received_at_s)
        return self.reader(target.models).timed_values(nodes, received_at_s)

    def read_links(self, target: Target, payload: bytes) -> list[ObjectLink]:
        """The links that Discover found. Raises `MalformedLinkFormat`."""
        links = link_format.decode(payload)
        root = target.root
        return [
            ObjectLink(without_root(root, link.target) if root else link.target, link.attributes)
            for link in links
        ]

    @staticmethod
    def _rooted(target: Target, content_format: int, payload: bytes) -> bytes:
        return add_root(target.root, content_format, payload) if target.root else payload


def format_of(command: Command, target: Target, *, is_composite: bool = False) -> int:
    """The content format that the command names, or the best that the device takes."""
    if command.format is not None:
        return command.format
    return target.preferred_format(is_composite=is_composite)


def answered_in(content_format: int) -> int:
    """The format to ask values in, when paths go in `content_format`."""
    return _ANSWERED_IN.get(content_format, content_format)


def removing_format(content_format: int) -> int:
    """The format to write in when something is removed as well."""
    return _REMOVING.get(content_format, content_format)
