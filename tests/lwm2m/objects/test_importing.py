"""Definitions are made from facts of the registry or from its XML, slips corrected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lwm2m.errors import MalformedDefinition
from lwm2m.objects import builtin_versions, read_definition
from lwm2m.objects.importing import corrected, main, models_of_collection

RESOURCE = {
    "name": " Control  gear thermal derating counter reset",
    "operations": "E",
    "multiple": False,
    "mandatory": False,
    "type": "",
    "range": "",
    "units": "",
}
OBJECT: dict[str, Any] = {
    "name": "Outdoor lamp controller",
    "lwm2m_version": "1.0",
    "multiple": True,
    "mandatory": False,
    "resources": {
        "27": RESOURCE,
        "1": {**RESOURCE, "name": "A", "operations": "RW", "type": "Integer", "range": "0..100"},
        "2": {**RESOURCE, "name": "B", "operations": "R", "type": "Float", "range": "some"},
    },
}
COLLECTION = {"3416": {"1.0": OBJECT, "3.0": OBJECT}, "42769": {"1.0": OBJECT}}
XML = """<LWM2M><Object><Name>Tide</Name><ObjectID>42800</ObjectID>
<MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources><Item ID="0"><Name>Level</Name><Operations>R</Operations>
<MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory><Type>Float</Type>
</Item></Resources></Object></LWM2M>"""


def test_facts_become_definitions() -> None:
    first, *_ = models_of_collection(COLLECTION)
    assert list(first.resources) == [1, 2, 27]
    assert str(first.resources[1].range) == "0 to 100"
    assert first.resources[2].range_note == "some"
    assert first.resources[27].name == "Control gear thermal derating counter reset"


def test_slips_are_corrected_in_the_versions_that_have_them() -> None:
    old, new, other = models_of_collection(COLLECTION)
    assert corrected(old).resources[27].name == "Control gear thermal shutdown counter reset"
    assert corrected(new) == new
    assert corrected(other) == other


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "resources"),
        ({**OBJECT, "resources": {"x": RESOURCE}}, "ValueError"),
        ({**OBJECT, "resources": {"1": {**RESOURCE, "type": "Real"}}}, "Real"),
    ],
)
def test_facts_that_are_none_are_refused(facts: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedDefinition, match=reason):
        list(models_of_collection({"1": {"1.0": facts}}))


def _run(tmp_path: Path, *arguments: str) -> tuple[int, list[str]]:
    (tmp_path / "facts.json").write_bytes(msgspec.json.encode(COLLECTION))
    (tmp_path / "tide.xml").write_text(XML)
    folder = tmp_path / "out"
    folder.mkdir()
    places = [str(tmp_path / each) if "." in each else each for each in arguments]
    code = main([str(folder) if each == "OUT" else each for each in places])
    return code, sorted(file.name for file in folder.iterdir())


def test_the_command_writes_a_file_for_each_version(tmp_path: Path) -> None:
    code, names = _run(tmp_path, "OUT", "facts.json", "tide.xml")
    assert code == 0
    assert names == ["3416_1.0.json", "3416_3.0.json", "42769_1.0.json", "42800_1.0.json"]
    made = read_definition((tmp_path / "out/3416_1.0.json").read_bytes())
    assert made.resources[27].name == "Control gear thermal shutdown counter reset"


def test_the_command_takes_only_the_objects_that_are_chosen(tmp_path: Path) -> None:
    code, names = _run(tmp_path, "--only", "1,42700-42799", "OUT", "facts.json")
    assert (code, names) == (0, ["42769_1.0.json"])


def test_the_command_tells_how_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, "OUT") == (2, [])
    assert "python -m lwm2m.objects.importing FOLDER FILE..." in capsys.readouterr().err


def test_the_command_tells_which_file_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<LWM2M>\n</LWM2M>")
    assert main([str(tmp_path), str(broken)]) == 1
    told = capsys.readouterr().err
    assert told == f"{broken}:1: error: there is no <Object>; define one object\n"


def test_definitions_that_come_along_need_no_further_correction() -> None:
    for model in builtin_versions().values():
        assert corrected(model) == model
