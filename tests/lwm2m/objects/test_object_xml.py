"""Object XML of the registry's form, and of forms that only nearly are it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.errors import MalformedDefinition
from lwm2m.objects import (
    ObjectModel,
    Problem,
    ResourceModel,
    ValueRange,
    ValueType,
    check_xml,
    read_xml,
)
from lwm2m.objects.xml_tree import BYTES_MAX, ELEMENTS_MAX

T = ValueType
ITEM: dict[str, str | None] = {
    "Name": "Level",
    "Operations": "R",
    "MultipleInstances": "Single",
    "Mandatory": "Mandatory",
    "Type": "Float",
    "RangeEnumeration": "",
    "Units": "m",
    "Description": "How high the water stands.",
}
OBJECT: dict[str, str | None] = {
    "Name": "Tide Gauge",
    "Description1": "Free text.",
    "ObjectID": "42769",
    "ObjectURN": "urn:oma:lwm2m:x:42769",
    "LWM2MVersion": "1.0",
    "ObjectVersion": "1.0",
    "MultipleInstances": "Multiple",
    "Mandatory": "Optional",
}


def _elements(fields: dict[str, str | None]) -> str:
    given = {name: text for name, text in fields.items() if text is not None}
    return "\n".join(f"<{name}>{text}</{name}>" for name, text in given.items())


def item(number: str | None = "1", **changes: str | None) -> str:
    attribute = "" if number is None else f' ID="{number}"'
    return f"<Item{attribute}>\n{_elements({**ITEM, **changes})}\n</Item>"


def xml(*items: str, resources: str | None = None, **changes: str | None) -> bytes:
    """A file; with the fields as they are, the object begins in line 2 and items in line 12."""
    fields = _elements({**OBJECT, **changes})
    inner = f"<Resources>\n{chr(10).join(items)}</Resources>" if resources is None else resources
    return f'<?xml version="1.0"?><LWM2M>\n<Object>\n{fields}\n{inner}</Object></LWM2M>'.encode()


def problems(data: bytes) -> list[Problem]:
    return list(check_xml(data, "tide.xml").problems)


def test_an_object_is_read_with_all_that_it_says() -> None:
    data = xml(
        item("2", Name=" Alarm\n level ", Operations="RW", RangeEnumeration="-10..10"),
        item(),
        item("3", Name="Reset", Operations="E", Type="", Units="", Mandatory="Optional"),
        item("4", Name="Names", Type="String", MultipleInstances="Multiple", Units=None),
        ObjectVersion="1.1",
        ObjectURN="urn:oma:lwm2m:x:42769:1.1",
        LWM2MVersion="1.1",
    )
    assert problems(data) == []
    assert read_xml(data, "tide.xml") == ObjectModel(
        42_769,
        "Tide Gauge",
        "1.1",
        "1.1",
        True,
        False,
        {
            1: ResourceModel(1, "Level", T.FLOAT, "R", mandatory=True, unit="m"),
            2: ResourceModel(
                2, "Alarm level", T.FLOAT, "RW", False, True, "m", ValueRange(-10, 10)
            ),
            3: ResourceModel(3, "Reset", T.NONE, "E"),
            4: ResourceModel(4, "Names", T.STRING, "R", multiple=True, mandatory=True),
        },
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("String", T.STRING),
        ("Integer", T.INTEGER),
        ("Unsigned Integer", T.UNSIGNED),
        ("unsigned  integer", T.UNSIGNED),
        ("Float", T.FLOAT),
        ("Boolean", T.BOOLEAN),
        ("Opaque", T.OPAQUE),
        ("Time", T.TIME),
        ("Objlnk", T.OBJECT_LINK),
        ("Corelnk", T.CORE_LINK),
    ],
)
def test_types_are_those_of_the_standard(name: str, kind: ValueType) -> None:
    assert read_xml(xml(item(Type=name)), "x").resources[1].type is kind


def test_a_file_of_schema_1_0_names_no_versions_and_has_1_0() -> None:
    model = read_xml(xml(item(), LWM2MVersion=None, ObjectVersion=""), "x")
    assert (model.version, model.lwm2m_version) == ("1.0", "1.0")


def test_namespaces_and_other_encodings_are_read() -> None:
    text = xml(item(Name="Füllstand")).decode()
    spaced = text.replace("<LWM2M>", '<o:LWM2M xmlns:o="http://www.example.org/o">')
    spaced = spaced.replace("</LWM2M>", "</o:LWM2M>")
    assert read_xml(spaced.encode("utf-8"), "x").resources[1].name == "Füllstand"
    latin = text.replace("?>", ' encoding="ISO-8859-1"?>', 1).encode("latin-1")
    assert read_xml(latin, "x").resources[1].name == "Füllstand"


def test_all_problems_of_a_file_are_told_at_once_with_their_lines() -> None:
    data = xml(
        item("1", Type="Real", Units="feet"),
        item("1", Operations="RX"),
        item("70000"),
        Name="",
        ObjectVersion="one",
    )
    assert [str(problem) for problem in problems(data)] == [
        "tide.xml:3: error: <Name> is empty; name it",
        "tide.xml:8: error: <ObjectVersion> is 'one'; write two numbers, as in 1.0",
        "tide.xml:17: error: type 'Real' is unknown; write one of String, Integer, Unsigned "
        "Integer, Float, Boolean, Opaque, Time, Objlnk, Corelnk",
        "tide.xml:19: warning: unit 'feet' is in no registry; use a unit of RFC 8428 or RFC 8798",
        "tide.xml:24: error: operations 'RX' are none; write R, W, RW, E or leave it empty",
        "tide.xml:32: error: Item ID '70000' is no id; write a number, 0 to 65534",
    ]
    with pytest.raises(MalformedDefinition) as caught:
        read_xml(data, "tide.xml")
    assert len(caught.value.problems) == 5
    assert str(caught.value).startswith("tide.xml:3: error: ")


@pytest.mark.parametrize(
    ("data", "severity", "line", "what"),
    [
        (xml(item(None)), "error", 12, "<Item> without ID"),
        (xml(item("-1")), "error", 12, "Item ID '-1' is no id"),
        (xml(item("x" * 99)), "error", 12, "Item ID 'xxxxxxxxxxxxxxxxxxxx' is no id"),
        (xml(item(), item()), "error", 22, "resource 1 is defined twice, first at line 12"),
        (xml(item(Name=None)), "error", 12, "<Item> without <Name>"),
        (xml(item(Operations=None)), "error", 12, "<Operations> is missing"),
        (xml(item(Operations="WR")), "warning", 14, "operations 'WR'"),
        (xml(item(Operations="r")), "warning", 14, "operations 'r'"),
        (xml(item(Type="")), "error", 17, "<Type> is missing"),
        (xml(item(Type=None)), "error", 12, "<Type> is missing"),
        (xml(item(Operations="E", Type="String")), "warning", 17, "type 'String' of an executable"),
        (xml(item(MultipleInstances="Many")), "error", 15, "<MultipleInstances> is 'Many'"),
        (xml(item(MultipleInstances=None)), "error", 12, "<Item> without <MultipleInstances>"),
        (xml(item(Mandatory="Yes")), "error", 16, "<Mandatory> is 'Yes'"),
        (xml(item(RangeEnumeration="low")), "warning", 18, "range 'low' of type float is kept"),
        (xml(item(Oparations="R")), "warning", 21, "<Oparations> is ignored"),
        (xml(item(), ObjectID=None), "error", 2, "<Object> without <ObjectID>"),
        (xml(item(), ObjectID="65535"), "error", 5, "ObjectID '65535' is no id"),
        (xml(item(), LWM2MVersion="2.0"), "warning", 7, "LwM2M version 2.0"),
        (xml(item(), ObjectURN="urn:oma:lwm2m:x:1"), "warning", 6, "URN 'urn:oma:lwm2m:x:1'"),
        (xml(item(), ObjectURN="42769"), "warning", 6, "URN '42769'"),
        (xml(item(), Colour="red"), "warning", 11, "<Colour> is ignored"),
        (xml(item(), Mandatory="Mandatory</Mandatory><Mandatory>Optional"), "error", 10, "twice"),
        (xml(), "warning", 11, "the object has no resources"),
        (xml(resources=""), "error", 2, "<Object> without <Resources>"),
        (b"<LWM2M/>", "error", 1, "there is no <Object>"),
        (b"\n<objects/>", "error", 2, "the root is <objects>"),
        (b"", "error", 1, "no well-formed XML (no element found)"),
        (b"<LWM2M>\n<Object>\n</LWM2M>", "error", 3, "no well-formed XML (mismatched tag)"),
        (b'<?xml version="1.0" encoding="klingon"?><LWM2M/>', "error", 1, "encoding"),
        (b"<LWM2M>" + b"<a>" * 20, "error", 1, "too many elements"),
        (b"<LWM2M>" + b"<a/>" * (ELEMENTS_MAX + 1), "error", 1, "too many elements"),
        (b" " * (BYTES_MAX + 1), "error", 1, "bytes, more than"),
    ],
)
def test_each_problem_has_its_line_and_a_remedy(
    data: bytes, severity: str, line: int, what: str
) -> None:
    (found,) = problems(data)
    assert (found.severity, found.line) == (severity, line)
    assert what in found.what
    assert found.remedy


@pytest.mark.parametrize("urn", ["urn:oma:lwm2m:oma:42769", "urn:oma:lwm2m:ext:42769:1.0", ""])
def test_the_urn_may_leave_1_0_out(urn: str) -> None:
    assert problems(xml(item(), ObjectURN=urn)) == []


BOMB = b"""<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<LWM2M><Object><Name>&b;</Name></Object></LWM2M>"""
OUTSIDE = b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><LWM2M/>'


UNDEFINED = b"<LWM2M><Object><Name>&b;</Name></Object></LWM2M>"


@pytest.mark.parametrize("data", [BOMB, OUTSIDE, UNDEFINED])
def test_documents_with_entities_are_refused(data: bytes) -> None:
    (found,) = problems(data)
    assert found.severity == "error"
    assert "document type" in found.what or "undefined entity" in found.what


def test_a_range_that_cannot_be_checked_is_kept_as_a_note() -> None:
    model = read_xml(xml(item(RangeEnumeration=" low\n to high ")), "x")
    assert model.resources[1].range is None
    assert model.resources[1].range_note == "low to high"


def test_reversed_bounds_are_told_and_how_they_are_meant() -> None:
    (found,) = problems(xml(item(RangeEnumeration="10..1")))
    assert found.severity == "warning"
    assert "reversed" in found.what
    assert "1..10" in found.remedy


def test_several_objects_in_a_file_are_checked_and_not_read_as_one() -> None:
    one = xml(item()).decode()
    inner = one[one.index("<Object>") : one.index("</LWM2M>")]
    data = f"<LWM2M>{inner}{inner.replace('42769', '42770')}</LWM2M>".encode()
    assert [model.id for model in check_xml(data, "x").models] == [42_769, 42_770]
    with pytest.raises(MalformedDefinition, match="2 objects; put each into a file of its own"):
        read_xml(data, "x")


SNIPPETS = st.sampled_from(
    [
        b"<LWM2M>",
        b"</LWM2M>",
        b"<Object>",
        b"</Object>",
        b"<Resources>",
        b"</Resources>",
        b'<Item ID="1">',
        b"</Item>",
        b"<Name>",
        b"</Name>",
        b"<Type>Float</Type>",
        b"<ObjectID>5</ObjectID>",
        b"<!DOCTYPE x>",
        b"<?xml version='1.0' encoding='utf-16'?>",
        b"&#0;",
        b"&lt;",
        b"]]>",
        b"\xff",
        b"text",
    ]
)


@pytest.mark.slow
@given(st.binary(max_size=60) | st.lists(SNIPPETS, max_size=12).map(b"".join))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_checked_or_refused(data: bytes) -> None:
    checked: Any = check_xml(data, "x")
    assert checked.models or checked.problems
