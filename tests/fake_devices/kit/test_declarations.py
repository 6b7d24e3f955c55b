"""What a maker may declare, and what is said about what is no LwM2M."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.names import IllegalName
from fake_devices import kit
from lwm2m.objects import builtin_versions
from tests.fake_devices.kit.kit_rig import KitRig, thermometer

Declare = Callable[[kit.Device], object]

REFUSED: list[tuple[Declare, str]] = [
    (lambda d: d.add("3303/0", {}), "'3303/0' does not begin with a slash"),
    (lambda d: d.add("/3303", {}), "/3303: an object instance such as /3303/0 is needed here"),
    (lambda d: d.add("/39999/0", {}), "/39999/0: no definition of object 39999 is known"),
    (lambda d: d.add("/3/1", {}), "/3/1: Device has one instance, 0"),
    (lambda d: d.add("/0/0", {}), "/0/0: object 0 is not declared: servers' accounts come from"),
    (lambda d: d.add("/5/0", {}), "/5/0: object 5 is not declared: `Device"),
    (lambda d: d.add("/18830/0", {}), "/18830/0: object 18830 is not declared: the platform"),
    (lambda d: d.bind("/3303/0/1", 1), r"/3303/0/1: object 3303 \(Temperature\) has no resource 1"),
    (lambda d: d.bind("/3303/0/5700", "warm"), "/3303/0/5700: .* float is needed, not str"),
    (lambda d: d.bind("/3303/0/5700/0", 1.0), "/3303/0/5700/0: .* has no resource instances"),
    (lambda d: d.bind("/3303/0/5700", {0: 1.0}), "/3303/0/5700: it has no instances"),
    (lambda d: d.bind("/3/0/7", 3800), "/3/0/7: .* has instances; bind /3/0/7/0"),
    (lambda d: d.bind("/3/0/9", 101), "/3/0/9: .* 101 is not 0 to 100"),
    (lambda d: d.bind("/3303/0/5605", True), "/3303/0/5605: .* is executed and has no value"),
    (lambda d: d.bind("/3303/0/5605", lambda: 1), "/3303/0/5605: it is executed; use on_execute"),
    (lambda d: d.add("/3303/1", {}, reports=[5700]), "/3303/1/5700: it is to be reported and has"),
    (
        lambda d: d.add("/3342/0", {5500: True, 5501: 1}, reports=[5503]),
        "object 3342 .* has no resource 5503",
    ),
    (lambda d: d.on_write("/3303/0/5700")(print), "/3303/0/5700: .* cannot be written by a server"),
    (lambda d: d.on_execute("/3303/0/5700")(print), "/3303/0/5700: .* cannot be executed"),
    (lambda d: d.alarm("a", "/3303/0/5601", bool), "/3303/0/5601: alarm a is about it, and it has"),
    (lambda d: d.alarm("a", "/3/0/7", bool), "/3/0/7: .* has instances"),
]  # fmt: skip


@pytest.mark.parametrize(("declare", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_is_no_lwm2m_is_refused_with_its_path(declare: Declare, text: str) -> None:
    with pytest.raises(kit.IllegalDeclaration, match=text):
        declare(thermometer())


def test_an_opaque_value_cannot_be_reported() -> None:
    device = kit.Device("room-1")
    with pytest.raises(kit.IllegalDeclaration, match="packs hold numbers, texts, booleans"):
        device.add("/19/0", {0: {0: b"\x01"}}, reports=[0])


def test_a_mandatory_resource_must_be_bound() -> None:
    device = kit.Device("room-1")
    device.add("/3303/0", {5701: "Cel"})
    with pytest.raises(kit.IllegalDeclaration, match="/3303/0/5700: Sensor Value is mandatory"):
        KitRig(device)


def test_a_measured_resource_that_servers_write_needs_a_handler() -> None:
    device = kit.Device("light-1")
    device.add("/3311/0", {5850: lambda: True})
    with pytest.raises(kit.IllegalDeclaration, match=r"/3311/0/5850: .* what a write does"):
        KitRig(device)


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(IllegalName):
        kit.Device("room 1")


def test_an_unknown_setting_is_told_with_those_that_there_are() -> None:
    with pytest.raises(
        kit.IllegalDeclaration, match=r"no setting 'colour'; there are: .*lifetime_s"
    ):
        kit.Device("room-1", colour="red")


def test_a_setting_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(kit.IllegalDeclaration, match=r"settings: Expected `int`.*lifetime_s"):
        kit.Device("room-1", lifetime_s="long")


def test_the_last_binding_holds() -> None:
    device = thermometer()
    device.bind("/3303/0/5700", 7.0)
    assert KitRig(device).start().read("/3303/0")["/3303/0/5700"] == 7.0
    device = thermometer()
    device.bind("/3303/0/5701", "K")
    device.bind("/3303/0/5701", lambda: "F")
    assert KitRig(device).start().read("/3303/0")["/3303/0/5701"] == "F"


def test_several_instances_and_resource_instances_are_read() -> None:
    device = thermometer()
    device.add("/3303/1", {5700: 4.0}, reports=[5700])
    device.bind("/3/0/6", {0: 1, 1: 5}, report=True)
    device.bind("/3/0/7", {0: 3800, 1: lambda: 5000})
    rig = KitRig(device).start()
    assert rig.read("/3303") == {
        "/3303/0/5700": 21.5, "/3303/0/5701": "Cel", "/3303/1/5700": 4.0
    }  # fmt: skip
    assert rig.read("/3/0/7") == {"/3/0/7/0": 3800, "/3/0/7/1": 5000}


def test_an_object_of_the_makers_own_is_declared_by_its_xml(tmp_path: Path) -> None:
    file = tmp_path / "33000.xml"
    file.write_text(OWN_OBJECT)
    device = kit.Device("kettle-1", object_files=[file])
    device.add("/33000/0", {0: 98.5})
    rig = KitRig(device).start()
    assert b"</33000/0>" in rig.requests[0].payload


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "cannot read .*33000.xml: No such file"), ("<LWM2M>", "33000.xml:1: error:")],
)
def test_an_object_file_that_cannot_be_used_is_told(
    tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "33000.xml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(kit.IllegalDeclaration, match=told):
        kit.Device("kettle-1", object_files=[file])


def test_the_version_decides_which_server_object_the_device_has() -> None:
    found = {
        version: KitRig(thermometer(lwm2m_version=version)).core.tree.template.models[1].version
        for version in ("1.0", "1.1", "1.2")
    }
    assert found["1.2"] == builtin_versions()[1, "1.2"].version
    assert found["1.1"] == "1.1"


def test_firmware_is_there_when_it_is_wanted() -> None:
    device = thermometer(firmware=kit.FirmwareSettings(package_name="room"))
    rig = KitRig(device).start()
    assert rig.read("/5/0")["/5/0/3"] == 0
    assert b"</5/0>" not in KitRig(thermometer()).start().requests[0].payload


OWN_OBJECT = """<?xml version="1.0" encoding="UTF-8"?>
<LWM2M><Object ObjectType="MODefinition">
<Name>Kettle</Name><Description1>Boils.</Description1>
<ObjectID>33000</ObjectID><ObjectURN>urn:oma:lwm2m:x:33000</ObjectURN>
<LWM2MVersion>1.0</LWM2MVersion><ObjectVersion>1.0</ObjectVersion>
<MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources><Item ID="0"><Name>Heat</Name><Operations>R</Operations>
<MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory>
<Type>Float</Type><RangeEnumeration></RangeEnumeration><Units>Cel</Units>
<Description>How hot.</Description></Item></Resources>
<Description2></Description2></Object></LWM2M>
"""
