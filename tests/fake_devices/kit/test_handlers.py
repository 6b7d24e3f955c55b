"""What a device of the kit does when servers write, execute and observe, and when it reports."""

from __future__ import annotations

import logging

import cbor2
import pytest

from contracts.journal import DeviceRegistered
from fake_devices import kit
from lwm2m.coap import Request, codes
from lwm2m.objects import ObjectPath
from tests.fake_devices.kit.kit_rig import KitRig, thermometer


class Light:
    """What a maker has behind the resources."""

    def __init__(self) -> None:
        self.is_on = False
        self.level = 50


def light_device(light: Light) -> kit.Device:
    device = kit.Device("light-1")
    device.add("/3311/0", {5850: lambda: light.is_on, 5851: lambda: light.level, 5750: "hall"})

    @device.on_write("/3311/0/5850")
    def switched(value: bool) -> None:
        light.is_on = value

    @device.on_write("/3311/0/5851")
    def dimmed(value: int | None) -> None:
        light.level = min(80, value or 0)

    return device


def test_a_handler_is_called_with_what_was_written() -> None:
    light = Light()
    rig = KitRig(light_device(light)).start()
    assert rig.write("/3311/0/5851", {"/3311/0/5851": 70}) == "2.04"
    assert light.level == 70


def test_a_measured_resource_shows_what_its_handler_made_of_a_write() -> None:
    rig = KitRig(light_device(Light())).start()
    rig.write("/3311/0/5851", {"/3311/0/5851": 95})
    assert rig.read("/3311/0/5851") == {"/3311/0/5851": 80}


def test_a_write_of_what_was_last_measured_reaches_its_handler_too() -> None:
    light = Light()
    rig = KitRig(light_device(light)).start()
    light.level = 70  # somebody turned the knob, and nothing has measured it yet
    rig.write("/3311/0/5851", {"/3311/0/5851": 50})
    assert light.level == 50
    assert rig.read("/3311/0/5851") == {"/3311/0/5851": 50}


def test_what_is_measured_later_replaces_what_was_written() -> None:
    light = Light()
    rig = KitRig(light_device(light)).start()
    rig.write("/3311/0/5851", {"/3311/0/5851": 60})
    light.level = 10
    assert rig.read("/3311/0/5851") == {"/3311/0/5851": 10}


def test_the_handler_of_an_instance_hears_of_a_whole_write() -> None:
    light, heard = Light(), []
    device = light_device(light)
    device.on_write("/3311/0")(heard.append)
    rig = KitRig(device).start()
    assert rig.write("/3311/0", {"/3311/0/5850": True, "/3311/0/5851": 20}, codes.POST) == "2.04"
    assert heard == [{5850: True, 5851: 20}]
    assert (light.is_on, light.level) == (True, 20)


def test_a_replacing_write_tells_none_for_what_it_removed() -> None:
    heard: list[object] = []
    device = kit.Device("light-1")
    device.add("/3311/0", {5850: True, 5851: 50})
    device.on_write("/3311/0/5851")(heard.append)
    rig = KitRig(device).start()
    assert rig.write("/3311/0", {"/3311/0/5850": False}) == "2.04"
    assert heard == [None]


def test_handlers_of_resource_instances_hear_of_theirs() -> None:
    several: list[object] = []
    one: list[object] = []
    whole: list[object] = []
    device = kit.Device("store-1")
    device.add("/19/0", {0: {0: b"a", 1: b"b"}})
    device.on_write("/19/0/0")(several.append)
    device.on_write("/19/0/0/1")(one.append)
    device.on_write("/19/0")(whole.append)
    rig = KitRig(device).start()
    assert rig.write("/19/0/0", {"/19/0/0/1": b"c", "/19/0/0/2": b"d"}, codes.POST) == "2.04"
    assert several == [{1: b"c", 2: b"d"}]
    assert one == [b"c"]
    assert whole == [{0: {1: b"c", 2: b"d"}}]


def test_an_execute_reaches_its_handler_with_arguments() -> None:
    heard: list[dict[int, str | None]] = []
    device = thermometer()
    device.on_execute("/3303/0/5605")(heard.append)
    rig = KitRig(device).start()
    assert rig.execute("/3303/0/5605", b"0='all',3") == "2.04"
    assert heard == [{0: "all", 3: None}]


def test_an_executable_without_handler_is_not_found() -> None:
    assert KitRig(thermometer()).start().execute("/3303/0/5605") == "4.04"


def test_a_reboot_may_have_a_handler_and_happens_all_the_same() -> None:
    heard: list[object] = []
    device = thermometer()
    device.on_execute("/3/0/4")(heard.append)
    rig = KitRig(device).start()
    assert rig.execute("/3/0/4") == "2.04"
    assert heard == [{}]
    assert [request.path for request in rig.requests] == [("rd",), ("rd",)]


def test_a_failing_handler_is_told_in_the_log_and_the_device_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = kit.Device("light-1")
    device.add("/3311/0", {5850: True})

    @device.on_write("/3311/0/5850")
    def fails(value: object) -> None:
        raise OSError("the relay is stuck")

    rig = KitRig(device).start()
    with caplog.at_level(logging.ERROR):
        assert rig.write("/3311/0/5850", {"/3311/0/5850": False}) == "2.04"
    assert "the handler of /3311/0/5850 failed" in caplog.text
    assert "the relay is stuck" in caplog.text
    assert rig.read("/3311/0/5850") == {"/3311/0/5850": False}


def test_a_failing_sensor_keeps_its_last_value_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    readings = iter([20.0, 20.0, None, None, 22.0])

    def sensor() -> float:
        found = next(readings)
        if found is None:
            raise OSError("no sensor")
        return found

    rig = KitRig(thermometer(sensor)).start()
    with caplog.at_level(logging.ERROR):
        assert rig.read("/3303/0/5700") == {"/3303/0/5700": 20.0}
        assert rig.read("/3303/0/5700") == {"/3303/0/5700": 20.0}
        assert caplog.text.count("/3303/0/5700 could not be measured") == 1
    assert rig.read("/3303/0/5700") == {"/3303/0/5700": 22.0}


def test_a_measured_value_that_does_not_fit_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    readings = iter([20.0, 20.0, "warm"])
    rig = KitRig(thermometer(lambda: next(readings))).start()
    with caplog.at_level(logging.ERROR):
        assert rig.read("/3303/0/5700") == {"/3303/0/5700": 20.0}
    assert "float is needed, not str" in caplog.text


def test_what_is_reported_goes_into_every_pack() -> None:
    device = thermometer(report_every_s=2.0)
    device.bind("/3/0/7", {0: 3800, 1: 5000}, report=True)
    rig = KitRig(device).start()
    rig.take_account("room-1")
    rig.run(5)
    packs = [cbor2.loads(each.pack.payload) for each in rig.published]
    assert len(packs) >= 3
    names = [record[0] for record in packs[0]]
    assert names == ["3303/0/5700", "3/0/7/0", "3/0/7/1"]
    assert [record[2] for record in packs[0]] == [21.5, 3800, 5000]


def test_an_alarm_is_raised_and_cleared_with_its_value() -> None:
    now = 20.0
    device = thermometer(lambda: now, report_every_s=1.0)
    device.alarm("too_warm", "/3303/0/5700", lambda celsius: celsius > 25, severity="major")
    rig = KitRig(device).start()
    rig.take_account("room-1")
    now = 26.0
    rig.run(2)
    now = 24.0
    rig.run(2)
    alarms = [
        cbor2.loads(each.pack.payload)[0] for each in rig.published if each.pack.stream == "alarm"
    ]
    assert [(a["alarm"], a[4], a["severity"], a["value"]) for a in alarms] == [
        ("too_warm", True, "major", 26.0),
        ("too_warm", False, "major", 24.0),
    ]


def test_an_alarm_that_cannot_be_judged_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    device = thermometer(report_every_s=1.0)
    device.alarm("broken", "/3303/0/5700", lambda celsius: 1 / 0)
    rig = KitRig(device).start()
    with caplog.at_level(logging.ERROR):
        rig.take_account("room-1")
        rig.run(3)
    assert caplog.text.count("alarm broken could not be judged") == 1
    assert [each.pack.stream for each in rig.published] == ["state"] * len(rig.published)


def test_who_observes_is_told_what_a_handler_changed() -> None:
    light = Light()
    rig = KitRig(light_device(light)).start()
    rig.send(Request(codes.GET, ("3311", "0", "5851"), observe=0, accept=0))
    rig.write("/3311/0/5851", {"/3311/0/5851": 95})
    told = [each.payload for each in rig.responses if each.observe is not None]
    assert told == [b"50", b"95", b"80"]


def test_a_failing_callback_does_not_end_the_device(caplog: pytest.LogCaptureFixture) -> None:
    device = thermometer()

    @device.on_registered
    def fails() -> None:
        raise ValueError("no")

    with caplog.at_level(logging.ERROR):
        KitRig(device).start()
    assert f"a handler of {DeviceRegistered.__name__} failed" in caplog.text
    assert device.is_registered


def test_only_a_running_device_sends_and_measures() -> None:
    device = thermometer()
    for ask in (device.measure, lambda: device.send("/3303/0")):
        with pytest.raises(kit.NotRunning, match="room-1 does not run"):
            ask()
    device.set("/3303/0/5701", "K")
    tree = KitRig(device).core.tree
    assert tree[ObjectPath(3303, 0, 5701)] == "K"
