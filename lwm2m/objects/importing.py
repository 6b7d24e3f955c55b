"""Makes definition files from the OMA registry: `python -m lwm2m.objects.importing FOLDER FILE...`.

A FILE is an object's XML, or a JSON collection `{id: {version: {…}}}` of the facts in such files
(`name`, `lwm2m_version`, `multiple`, `mandatory`, `resources` with `name`, `operations`, `type`,
`multiple`, `mandatory`, `range`, `units`). Slips of the registry are corrected on the way; each is
in the table below with its reason. Ids on the command line before the files, as in
`--only 0-7,3200-3350`, choose objects of a collection.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lwm2m.errors import MalformedDefinition
from lwm2m.objects.definition import write_definition
from lwm2m.objects.model import ObjectModel, ResourceModel, ValueRange
from lwm2m.objects.problems import read_xml
from lwm2m.objects.ranges import parse_range
from lwm2m.objects.values import ValueType


class Correction(NamedTuple):
    """What is wrong with one resource of an object in some versions, and what is put there."""

    object_id: int
    versions: tuple[str, ...]
    resource_id: int
    changes: dict[str, Any]
    reason: str


_BYTE = ValueRange(0, 255)
_WEP_KEY = ValueRange(allowed=(10, 26))
_UP_TO_32 = ValueRange(0, 32)

CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        1, ("1.0",), 0, {"range": ValueRange(1, 65534)}, "65535 is reserved; 1.1 has 1..65534"
    ),
    Correction(1, ("1.0",), 7, {"range_note": ""}, "the range is a sentence of the text"),
    Correction(
        12, ("1.0",), 22, {"range": _WEP_KEY}, "a key of 0 digits is none; 1.1 has 10 or 26"
    ),
    Correction(
        12, ("1.0",), 23, {"range": _WEP_KEY}, "a key of 0 digits is none; 1.1 has 10 or 26"
    ),
    Correction(
        12,
        ("1.0",),
        41,
        {"name": "Multicast Packets Sent"},
        "the name repeats that of 42; 1.1 has this one",
    ),
    Correction(
        19,
        ("1.0",),
        3,
        {"range": _UP_TO_32},
        "`32 bytes` of a description is the most",
    ),
    Correction(19, ("1.0",), 4, {"range": _UP_TO_32}, "`32 bytes` of a name is the most"),
    Correction(
        20, ("1.0", "2.0", "2.1"), 4010, {"range": _BYTE, "range_note": ""}, "`255` is the most"
    ),
    Correction(
        20, ("1.0", "2.0", "2.1"), 4015, {"range": _BYTE, "range_note": ""}, "`255` is the most"
    ),
    Correction(
        3416,
        ("1.0", "2.0"),
        27,
        {"name": "Control gear thermal shutdown counter reset"},
        "the name repeats that of 24; it follows the shutdown's counter",
    ),
    Correction(3418, ("1.0", "2.0"), 22, {"range_note": ""}, "`ON;OFF` is no range of a voltage"),
    Correction(
        3430,
        ("1.0", "2.0"),
        18,
        {"name": "Satellite elevation"},
        "the name repeats that of 17; it is a float next to the azimuth",
    ),
)

_TYPES = {
    "": ValueType.NONE,
    "String": ValueType.STRING,
    "Integer": ValueType.INTEGER,
    "Unsigned Integer": ValueType.UNSIGNED,
    "Float": ValueType.FLOAT,
    "Boolean": ValueType.BOOLEAN,
    "Opaque": ValueType.OPAQUE,
    "Time": ValueType.TIME,
    "Objlnk": ValueType.OBJECT_LINK,
    "Corelnk": ValueType.CORE_LINK,
}


def corrected(model: ObjectModel) -> ObjectModel:
    """The definition without the slips that are on record."""
    resources = dict(model.resources)
    for slip in CORRECTIONS:
        if slip.object_id == model.id and model.version in slip.versions:
            resource = resources[slip.resource_id]
            resources[slip.resource_id] = msgspec.structs.replace(resource, **slip.changes)
    return msgspec.structs.replace(model, resources=resources)


def models_of_collection(
    collection: dict[str, dict[str, Any]], only: frozenset[int] | None = None
) -> Iterator[ObjectModel]:
    """The objects of a collection of facts, as they are there. Raises `MalformedDefinition`."""
    for object_id, versions in collection.items():
        if only is not None and int(object_id) not in only:
            continue
        for version, facts in versions.items():
            try:
                yield _model(int(object_id), version, facts)
            except (KeyError, TypeError, ValueError) as error:
                raise MalformedDefinition(f"/{object_id} {version}: {error!r}") from error


def main(arguments: Sequence[str]) -> int:
    """Write the definitions that the files hold into the folder; 1 when one cannot be read."""
    only, names = _chosen(list(arguments))
    if len(names) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder, *files = [Path(name) for name in names]
    try:
        for model in _models(files, only):
            right = corrected(model)
            (folder / f"{right.id}_{right.version}.json").write_bytes(write_definition(right))
    except MalformedDefinition as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _chosen(arguments: list[str]) -> tuple[frozenset[int] | None, list[str]]:
    if arguments[:1] != ["--only"] or len(arguments) < 2:
        return None, arguments
    chosen: set[int] = set()
    for part in arguments[1].split(","):
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    return frozenset(chosen), arguments[2:]


def _models(files: Iterable[Path], only: frozenset[int] | None) -> Iterator[ObjectModel]:
    for file in files:
        data = file.read_bytes()
        if file.suffix == ".xml":
            yield read_xml(data, str(file))
        else:
            yield from models_of_collection(msgspec.json.decode(data), only)


def _model(object_id: int, version: str, facts: dict[str, Any]) -> ObjectModel:
    resources = {
        int(number): _resource(int(number), resource)
        for number, resource in facts["resources"].items()
    }
    return ObjectModel(
        object_id,
        _spaced(facts["name"]),
        version,
        facts["lwm2m_version"],
        facts["multiple"],
        facts["mandatory"],
        dict(sorted(resources.items())),
    )


def _resource(number: int, facts: dict[str, Any]) -> ResourceModel:
    kind = _TYPES[facts["type"]]
    bounds = parse_range(kind, facts["range"]) if facts["range"] else None
    return ResourceModel(
        number,
        _spaced(facts["name"]),
        kind,
        facts["operations"],
        facts["multiple"],
        facts["mandatory"],
        facts["units"],
        bounds,
        "" if bounds else facts["range"],
    )


def _spaced(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":  # pragma: no cover - the process itself; `main` is tested
    sys.exit(main(sys.argv[1:]))
