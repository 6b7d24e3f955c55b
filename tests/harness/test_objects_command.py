"""`lamplighter objects`: each problem has its line, and the exit status says whether one counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.objects_command import DEFINITION_BYTES_MAX, check_files, list_objects
from lwm2m.objects import builtin_versions, write_definition

GOOD = """<?xml version="1.0" encoding="UTF-8"?>
<LWM2M><Object ObjectType="MODefinition">
  <Name>Tide Gauge</Name>
  <ObjectID>42769</ObjectID>
  <ObjectURN>urn:oma:lwm2m:x:42769</ObjectURN>
  <MultipleInstances>Multiple</MultipleInstances>
  <Mandatory>Optional</Mandatory>
  <Resources>
    <Item ID="1">
      <Name>Level</Name>
      <Operations>R</Operations>
      <MultipleInstances>Single</MultipleInstances>
      <Mandatory>Mandatory</Mandatory>
      <Type>Float</Type>
      <RangeEnumeration>-10..10</RangeEnumeration>
      <Units>m</Units>
    </Item>
  </Resources>
</Object></LWM2M>
"""


def _file(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    printed = check_files([_file(tmp_path, "tide.xml", GOOD)])
    assert printed == (("1 file, 1 object, 0 errors, 0 warnings",), 0)


def test_problems_have_file_line_and_remedy(tmp_path: Path) -> None:
    text = GOOD.replace("<Type>Float</Type>", "<Type>Real</Type>").replace(">m<", ">feet<")
    file = _file(tmp_path, "tide.xml", text)
    printed = check_files([file])
    assert printed.exit_code == 1
    assert printed.lines == (
        f"{file}:14: error: type 'Real' is unknown; write one of String, Integer, Unsigned "
        "Integer, Float, Boolean, Opaque, Time, Objlnk, Corelnk",
        f"{file}:16: warning: unit 'feet' is in no registry; use a unit of RFC 8428 or RFC 8798",
        "1 file, 0 objects, 1 error, 1 warning",
    )


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    file = _file(tmp_path, "tide.xml", GOOD.replace("-10..10", "low to high"))
    printed = check_files([file])
    assert printed.exit_code == 0
    assert printed.lines[0].startswith(f"{file}:15: warning: range 'low to high' of type float")


def test_a_folder_stands_for_the_xml_files_in_it(tmp_path: Path) -> None:
    _file(tmp_path, "b.xml", "<LWM2M>")
    (tmp_path / "more").mkdir()
    _file(tmp_path / "more", "a.xml", GOOD)
    _file(tmp_path, "notes.txt", "no definition")
    printed = check_files([tmp_path])
    assert printed.lines[0].startswith(f"{tmp_path / 'b.xml'}:1: error: no well-formed XML")
    assert printed.lines[-1] == "2 files, 1 object, 1 error, 0 warnings"


def test_two_definitions_of_one_version_are_told(tmp_path: Path) -> None:
    files = [
        _file(tmp_path, "a.xml", GOOD),
        _file(tmp_path, "same.xml", GOOD),
        _file(tmp_path, "other.xml", GOOD.replace("Tide Gauge", "Rain Gauge")),
    ]
    printed = check_files(files)
    assert printed == (
        (
            f"{files[1]}:1: warning: /42769 1.0 is defined already in {files[0]}, in the same "
            "words; leave one out",
            f"{files[2]}:1: warning: /42769 1.0 is defined already in {files[0]}, differently; "
            "give it a version of its own",
            "3 files, 3 objects, 0 errors, 2 warnings",
        ),
        0,
    )


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.1", "/3303 1.1 replaces the built-in Temperature; give it a version of its own"),
        ("7.0", "/3303 is Temperature, which is built in: Tide Gauge would be a version of it"),
    ],
)
def test_a_definition_with_the_id_of_a_built_in_one_is_told(
    tmp_path: Path, version: str, told: str
) -> None:
    text = GOOD.replace("x:42769", f"ext:3303:{version}").replace("42769", "3303")
    text = text.replace("<Multi", f"<ObjectVersion>{version}</ObjectVersion><Multi", 1)
    file = _file(tmp_path, "tide.xml", text)
    printed = check_files([file])
    assert printed.lines[0].startswith(f"{file}:1: warning: {told}"), printed.lines
    assert printed.exit_code == 0


def test_reversed_bounds_are_told_as_such(tmp_path: Path) -> None:
    file = _file(tmp_path, "tide.xml", GOOD.replace("-10..10", "100..0"))
    assert check_files([file]).lines[0] == (
        f"{file}:15: warning: the bounds of range '100..0' are reversed, so that it is not "
        "enforced; write 0..100"
    )


def test_our_own_form_is_checked_too(tmp_path: Path) -> None:
    good = tmp_path / "3_1.2.json"
    good.write_bytes(write_definition(builtin_versions()[3, "1.2"]))
    bad = _file(tmp_path, "bad.json", "{}")
    printed = check_files([good, bad])
    assert printed.exit_code == 1
    assert printed.lines[0].startswith(f"{bad}:1: error: not an object definition")
    assert printed.lines[0].endswith("see fixtures/objects/README.md for the form")


@pytest.mark.parametrize("name", ["missing.xml", "missing.json"])
def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    printed = check_files([tmp_path / name])
    assert printed.exit_code == 1
    assert "it cannot be read (No such file or directory)" in printed.lines[0]


def test_nothing_to_check_is_a_failure(tmp_path: Path) -> None:
    text = f"{tmp_path}: no file *.xml in it; name files or their folder"
    assert check_files([tmp_path]) == ((text,), 1)


def test_the_list_has_every_object_with_all_its_versions() -> None:
    printed = list_objects()
    assert printed.exit_code == 0
    assert len(printed.lines) == len({object_id for object_id, _version in builtin_versions()})
    assert "    0  1.0 1.1 1.2      LWM2M Security (31 resources)" in printed.lines
    assert "18831  1.0              MQTT Publication (7 resources)" in printed.lines


def test_what_does_not_end_or_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.xml"
    with large.open("wb") as file:
        file.truncate(DEFINITION_BYTES_MAX + 1)
    for path, why in ((Path("/dev/zero"), "it is no regular file"), (large, "it has more than")):
        printed = check_files([path])
        assert printed.exit_code == 1
        assert f"{path}:1: error: it cannot be read ({why}" in printed.lines[0]
