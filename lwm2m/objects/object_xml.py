"""OMA object XML, which the registry and device makers publish, as object definitions.

LwM2M Core appendix D.1 has the form. Everything that is wrong with a file is found in one go, each
problem with its line. Documents that define entities are refused: no definition needs any, and a
short one could unfold to gigabytes.
"""

from __future__ import annotations

import re

import msgspec

from lwm2m.objects.model import ObjectModel, ResourceModel
from lwm2m.objects.path import ID_MAX
from lwm2m.objects.problems import Problem
from lwm2m.objects.ranges import parse_range, turned_round
from lwm2m.objects.units import is_known_unit
from lwm2m.objects.values import ValueType
from lwm2m.objects.versions import DEFAULT_VERSION
from lwm2m.objects.xml_tree import Element, MalformedXml, read_tree

_VERSION = re.compile(r"\d{1,5}\.\d{1,5}", re.ASCII)
_LWM2M_VERSIONS = ("1.0", "1.1", "1.2")
_TYPES: dict[str, ValueType] = {
    "string": ValueType.STRING,
    "integer": ValueType.INTEGER,
    "unsigned integer": ValueType.UNSIGNED,
    "float": ValueType.FLOAT,
    "boolean": ValueType.BOOLEAN,
    "opaque": ValueType.OPAQUE,
    "time": ValueType.TIME,
    "objlnk": ValueType.OBJECT_LINK,
    "corelnk": ValueType.CORE_LINK,
}
_OPERATIONS = ("", "R", "W", "RW", "E")
_OF_OBJECT = frozenset(
    {"name", "description1", "objectid", "objecturn", "lwm2mversion", "objectversion"}
    | {"multipleinstances", "mandatory", "resources", "description2"}
)
_OF_ITEM = frozenset(
    {"name", "operations", "multipleinstances", "mandatory", "type", "rangeenumeration"}
    | {"units", "description"}
)


def read_objects(data: bytes, source: str) -> tuple[list[ObjectModel], list[Problem]]:
    """The objects of a file as far as they can be made out, and all that is wrong with it."""
    reader = _Reader(source)
    return reader.read(data), reader.problems


class _Reader:
    """Collects the problems of one file on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []

    def read(self, data: bytes) -> list[ObjectModel]:
        try:
            root = read_tree(data)
        except MalformedXml as error:
            self._error(error.line, error.what, error.remedy)
            return []
        if root.name.lower() != "lwm2m":
            self._error(root.line, f"the root is <{root.name}>", "it must be <LWM2M>")
            return []
        objects = root.named("object")
        if not objects:
            self._error(root.line, "there is no <Object>", "define one object")
        return [model for each in objects if (model := self._object(each)) is not None]

    def _object(self, element: Element) -> ObjectModel | None:
        self._require_known(element, _OF_OBJECT)
        object_id = self._identifier(self._needed(element, "ObjectID"))
        version = self._version(element, "ObjectVersion")
        lwm2m_version = self._version(element, "LWM2MVersion")
        if lwm2m_version not in _LWM2M_VERSIONS:
            line = element.line_of("lwm2mversion")
            known = ", ".join(_LWM2M_VERSIONS)
            self._warning(line, f"LwM2M version {lwm2m_version}", f"known are {known}")
        name = self._name(element)
        multiple = self._choice(element, "MultipleInstances", "Multiple", "Single")
        mandatory = self._choice(element, "Mandatory", "Mandatory", "Optional")
        resources = self._resources(element)
        if object_id is None:
            return None
        self._check_urn(element, object_id, version)
        return ObjectModel(object_id, name, version, lwm2m_version, multiple, mandatory, resources)

    def _resources(self, element: Element) -> dict[int, ResourceModel]:
        holder = self._needed(element, "Resources")
        found: dict[int, ResourceModel] = {}
        lines: dict[int, int] = {}
        items = [] if holder is None else holder.named("item")
        for item in items:
            resource = self._resource(item)
            if resource is None:
                continue
            if resource.id in found:
                first = lines[resource.id]
                what = f"resource {resource.id} is defined twice, first at line {first}"
                self._error(item.line, what, "give each resource an ID of its own")
            found[resource.id] = resource
            lines.setdefault(resource.id, item.line)
        if holder is not None and not items:
            self._warning(holder.line, "the object has no resources", "add <Item> elements")
        return dict(sorted(found.items()))

    def _resource(self, item: Element) -> ResourceModel | None:
        self._require_known(item, _OF_ITEM)
        number = self._item_id(item)
        operations = self._operations(item)
        kind = self._type(item, operations)
        name = self._name(item)
        multiple = self._choice(item, "MultipleInstances", "Multiple", "Single")
        mandatory = self._choice(item, "Mandatory", "Mandatory", "Optional")
        unit = item.text_of("units")
        if not is_known_unit(unit):
            what = f"unit {unit[:40]!r} is in no registry"
            self._warning(item.line_of("units"), what, "use a unit of RFC 8428 or RFC 8798")
        if number is None or kind is None:
            return None
        plain = ResourceModel(number, name, kind, operations, multiple, mandatory, unit)
        return self._ranged(item, plain)

    def _ranged(self, item: Element, plain: ResourceModel) -> ResourceModel:
        text = " ".join(item.text_of("rangeenumeration").split())
        if not text:
            return plain
        bounds = parse_range(plain.type, text)
        if bounds is not None:
            return msgspec.structs.replace(plain, range=bounds)
        what = f"range {text[:60]!r} of type {plain.type.value} is kept as a note, not enforced"
        remedy = "write bounds as 0..255 or values as 1,2,3, or leave it empty"
        meant = turned_round(text)
        if meant is not None:
            what = f"the bounds of range {text[:60]!r} are reversed, so that it is not enforced"
            remedy = f"write {meant}"
        self._warning(item.line_of("rangeenumeration"), what, remedy)
        return msgspec.structs.replace(plain, range_note=text[:200])

    def _item_id(self, item: Element) -> int | None:
        text = item.attributes.get("ID")
        if text is None:
            self._error(item.line, "<Item> without ID", f'write <Item ID="0">, 0 to {ID_MAX}')
            return None
        return self._number(text, item.line, "Item ID")

    def _identifier(self, element: Element | None) -> int | None:
        return None if element is None else self._number(element.text, element.line, "ObjectID")

    def _number(self, text: str, line: int, name: str) -> int | None:
        text = text.strip()
        is_number = text.isascii() and text.isdigit() and len(text) <= 5
        if not is_number or int(text) > ID_MAX:
            self._error(line, f"{name} {text[:20]!r} is no id", f"write a number, 0 to {ID_MAX}")
            return None
        return int(text)

    def _operations(self, item: Element) -> str:
        text = item.text_of("operations")
        if item.first("operations") is None:
            self._error(item.line, "<Operations> is missing", "write R, W, RW, E or leave it empty")
        upper = "".join(sorted(text.upper()))
        if upper not in _OPERATIONS:
            what = f"operations {text[:20]!r} are none"
            self._error(item.line_of("operations"), what, "write R, W, RW, E or leave it empty")
            return ""
        if text != upper:
            self._warning(item.line_of("operations"), f"operations {text!r}", f"write {upper}")
        return upper

    def _type(self, item: Element, operations: str) -> ValueType | None:
        text = " ".join(item.text_of("type").split())
        line = item.line_of("type")
        if operations == "E":
            if text and text.lower() != "none":
                self._warning(line, f"type {text[:20]!r} of an executable", "leave it empty")
            return ValueType.NONE
        kind = _TYPES.get(text.lower())
        if kind is None:
            what = f"type {text[:20]!r} is unknown" if text else "<Type> is missing"
            names = "String, Integer, Unsigned Integer, Float, Boolean, Opaque, Time, Objlnk"
            self._error(line, what, f"write one of {names}, Corelnk")
        return kind

    def _choice(self, element: Element, name: str, yes: str, no: str) -> bool:
        found = self._needed(element, name)
        if found is None:
            return False
        text = found.text.strip()
        if text.lower() not in (yes.lower(), no.lower()):
            self._error(found.line, f"<{name}> is {text[:20]!r}", f"write {yes} or {no}")
        return text.lower() == yes.lower()

    def _name(self, element: Element) -> str:
        found = self._needed(element, "Name")
        name = "" if found is None else " ".join(found.text.split())
        if found is not None and not name:
            self._error(found.line, "<Name> is empty", "name it")
        return name

    def _version(self, element: Element, name: str) -> str:
        text = element.text_of(name.lower())
        if not text:
            # LwM2M Core §7.2.2: what names no version is 1.0.
            return DEFAULT_VERSION
        if _VERSION.fullmatch(text) is None:
            what = f"<{name}> is {text[:20]!r}"
            self._error(element.line_of(name.lower()), what, "write two numbers, as in 1.0")
            return DEFAULT_VERSION
        return text

    def _check_urn(self, element: Element, object_id: int, version: str) -> None:
        urn = element.text_of("objecturn")
        parts = urn.split(":")
        expected = [str(object_id)] if version == DEFAULT_VERSION else [str(object_id), version]
        is_right = parts[:3] == ["urn", "oma", "lwm2m"] and parts[4:] in (
            expected,
            [str(object_id), version],
        )
        if urn and not is_right:
            line = element.line_of("objecturn")
            remedy = f"write urn:oma:lwm2m:…:{':'.join(expected)}"
            self._warning(line, f"URN {urn[:60]!r} is not that of the object", remedy)

    def _needed(self, element: Element, name: str) -> Element | None:
        found = element.named(name.lower())
        if not found:
            self._error(element.line, f"<{element.name}> without <{name}>", f"add <{name}>")
            return None
        if len(found) > 1:
            self._error(found[1].line, f"<{name}> is there twice", "keep one of them")
        return found[0]

    def _require_known(self, element: Element, names: frozenset[str]) -> None:
        for child in element.children:
            if child.name.lower() not in names:
                what = f"<{child.name[:40]}> is ignored"
                self._warning(child.line, what, "no definition has such an element")

    def _error(self, line: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.source, line, "error", what, remedy))

    def _warning(self, line: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.source, line, "warning", what, remedy))
