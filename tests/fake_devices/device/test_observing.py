"""What servers observe on a device: targets, ends, histories, bounds."""

import pytest

from fake_devices.device.observing import OBSERVATIONS_PER_SERVER_MAX, Observing
from lwm2m.coap import Request, codes
from lwm2m.codecs import content_formats, encode_paths
from lwm2m.objects import ObjectPath

GET, PUT, POST, DELETE, FETCH = codes.GET, codes.PUT, codes.POST, codes.DELETE, codes.FETCH
SENML, TEXT, TLV = content_formats.SENML_CBOR, content_formats.TEXT, content_formats.TLV


@pytest.fixture
def quiet(make_managed):
    """Of LwM2M 1.2, without default periods."""
    return make_managed("1.2", {"/1/0/2": 0, "/1/0/3": 0})


def codes_told(device):
    return [codes.code_text(notify.response.code) for _, notify in device.notified]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(GET, ("3",), observe=0), True),
        (Request(FETCH, (), observe=0), True),
        (Request(PUT, ("3",), ("pmin=1",)), True),
        (Request(PUT, ("3",), ("pmin=1",), payload=b"x"), False),
        (Request(GET, ("3",)), False),
        (Request(GET, ("3",), observe=1), False),
        (Request(POST, ("3",), observe=0), False),
    ],
)
def test_only_observations_and_attributes_make_a_device_remember(request_, expected):
    assert Observing.concerns(request_) is expected


@pytest.mark.parametrize("path", ["/3", "/3/0", "/3/0/7", "/3/0/7/0"])
def test_every_level_is_observed(quiet, path):
    answer = quiet.ask(GET, path, observe=0).response
    assert (answer.code, answer.observe) == (codes.CONTENT, 1)
    quiet.change("/3/0/7/0", 3600)
    quiet.change("/1/0/1", 5)
    assert len(quiet.notified) == 1
    assert quiet.told(path)[0][1]["/3/0/7/0"] == 3600


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/77", (), "4.04"),
        ("/3/0/10", (), "4.04"),
        ("/3/0/4", (), "4.05"),
        ("/0/0", (), "4.01"),
        ("/", (), "4.05"),
        ("/3/0", ("pmin=x",), "4.00"),
        ("/3/0", ("gt=5",), "4.00"),
        ("/3/0/7", ("lt=9", "gt=5"), "4.00"),
        ("/3/0/7", ("pmin",), "4.00"),
    ],
)
def test_an_observation_that_cannot_be_is_refused(quiet, path, query, expected):
    assert quiet.code(GET, path, *query, observe=0) == expected
    assert quiet.observing.observations == 0


def test_parameters_must_agree_with_attached_attributes(quiet):
    assert quiet.code(PUT, "/3/0/9", "lt=20") == "2.04"
    assert quiet.code(GET, "/3/0/9", "gt=10", observe=0) == "4.00"
    assert quiet.code(GET, "/3/0/9", "gt=30", observe=0) == "2.05"


def test_a_device_of_1_1_takes_no_parameters(managed):
    assert managed.code(GET, "/3/0/9", "pmin=5", observe=0) == "4.00"


def test_notifications_come_in_the_format_that_was_asked_for(quiet):
    quiet.ask(GET, "/3/0/9", observe=0, accept=TEXT)
    quiet.ask(GET, "/3/0", observe=0, accept=TLV)
    quiet.ask(GET, "/3/0/9", observe=0)
    quiet.change("/3/0/9", 42)
    assert [each.response.content_format for _, each in quiet.notified] == [TEXT, TLV, SENML]
    assert quiet.notified[0][1].response.payload == b"42"


def test_an_observation_of_an_instance_ends_with_it(quiet):
    quiet.ask(GET, "/16/0", observe=0)
    quiet.ask(GET, "/16/0/0", observe=0)
    quiet.ask(GET, "/16", observe=0)
    quiet.code(DELETE, "/16/0")
    assert codes_told(quiet) == ["4.04", "4.04", "2.05"]
    assert [each.response.observe for _, each in quiet.notified][:2] == [None, None]
    assert quiet.observing.observations == 1


def test_an_observation_of_a_value_ends_with_it(quiet):
    quiet.ask(GET, "/16/0/0/1", observe=0)
    assert quiet.code(DELETE, "/16/0/0/1") == "2.02"
    assert codes_told(quiet) == ["4.04"]


def test_an_instance_that_comes_later_is_told_to_who_observes_the_object(quiet):
    quiet.ask(GET, "/18831", observe=0)
    quiet.ask(GET, "/16", observe=0)
    quiet.write(POST, "/16", {"/16/3/0/0": "new"})
    assert len(quiet.notified) == 1
    assert quiet.told("/16")[0][1]["/16/3/0/0"] == "new"


def test_the_root_is_observed_by_a_composite(quiet):
    payload = encode_paths(SENML, [None])
    served = quiet.ask(FETCH, "/", payload=payload, content_format=SENML, observe=0)
    assert served.operation == "observe_composite"
    quiet.change("/3/0/9", 42)
    assert quiet.told()[0][1]["/3/0/9"] == 42


def test_a_composite_observation_carries_parameters(quiet):
    payload = encode_paths(SENML, [ObjectPath(3, 0, 9), ObjectPath(3, 0, 13)])
    options = {"payload": payload, "content_format": SENML, "observe": 0}
    assert quiet.code(FETCH, "/", "pmin=10", "con=1", **options) == "2.05"
    assert quiet.code(FETCH, "/", "gt=10", **options) == "4.00"
    quiet.change("/3/0/9", 42)
    assert quiet.notified == []
    quiet.run(10)
    assert [(at - 1000, each.confirmable) for at, each in quiet.notified] == [(10.0, True)]


def test_confirmability_comes_from_attribute_or_server_object(quiet):
    quiet.ask(GET, "/3/0/9", observe=0)
    quiet.change("/3/0/9", 1)
    quiet.code(PUT, "/3/0/9", "con=1")
    quiet.change("/3/0/9", 2)
    quiet.code(PUT, "/3/0/9", "con")
    quiet.write(PUT, "/1/0/26", {"/1/0/26": 1})
    quiet.change("/3/0/9", 3)
    assert [each.confirmable for _, each in quiet.notified] == [False, True, True]


def test_what_was_stored_is_told_in_one_notification(quiet):
    quiet.write(PUT, "/1/0/6", {"/1/0/6": True})
    quiet.ask(GET, "/3/0/9", observe=0)
    quiet.ask(GET, "/3/0/9", observe=0, accept=TEXT)
    quiet.observing.set_reachable(1, False)
    for level in (50, 40, 30):
        quiet.run(1)
        quiet.change("/3/0/9", level)
    assert quiet.notified == []
    quiet.observing.set_reachable(1, True)
    quiet.run(1)
    assert len(quiet.notified) == 2
    first, second = (notify.response for _, notify in quiet.notified)
    assert first.content_format == SENML
    assert second.payload == b"30", "a text has no place for times"


def test_what_was_not_to_be_stored_is_lost(quiet):
    quiet.ask(GET, "/3/0/9", observe=0)
    quiet.observing.set_reachable(1, False)
    quiet.change("/3/0/9", 50)
    quiet.observing.set_reachable(1, True)
    quiet.run(100)
    assert quiet.notified == []


def test_an_observation_whose_target_goes_while_nobody_listens_ends_silently(quiet):
    quiet.ask(GET, "/16/0", observe=0)
    quiet.observing.set_reachable(1, False)
    quiet.observing.set_reachable(7, False)
    quiet.code(DELETE, "/16/0")
    assert quiet.notified == []
    assert quiet.observing.observations == 0


def test_a_history_without_a_clock_is_the_newest_value(quiet):
    quiet.ask(GET, "/3/0/9", "pmin=10", "hqmax=5", observe=0)
    for level in (1, 2, 3):
        quiet.tree.apply({ObjectPath(3, 0, 9): level})
        quiet.observing.evaluate(quiet.tree, quiet.now, touched=[ObjectPath(3, 0, 9)])
    (notify,) = quiet.observing.evaluate(quiet.tree, quiet.now + 10, touched=None)
    assert quiet.values(notify.response, "/3/0/9") == {"/3/0/9": 3}


def test_observations_of_one_server_are_bounded(quiet):
    answers = {quiet.code(GET, "/3/0/9", observe=0) for _ in range(OBSERVATIONS_PER_SERVER_MAX)}
    assert answers == {"2.05"}
    assert quiet.code(GET, "/3/0/9", observe=0) == "5.03"
    assert quiet.code(GET, "/3/0/9") == "2.05"
    assert quiet.code(GET, "/3/0/9", observe=0, server=2) == "2.05"


def test_a_new_registration_ends_observations_and_keeps_attributes(quiet):
    quiet.code(PUT, "/3/0/9", "pmin=5")
    quiet.ask(GET, "/3/0/9", observe=0)
    quiet.ask(GET, "/3/0/9", observe=0, server=2)
    assert len(quiet.observing.server_left(1)) == 1
    assert quiet.observing.observations == 1
    assert quiet.links("/3/0/9")["/3/0/9"] == {"pmin": "5"}
    assert quiet.observing.server_removed(1) == []
    assert quiet.links("/3/0/9")["/3/0/9"] == {}
    assert len(quiet.observing.server_removed(2)) == 1
    assert quiet.observing.next_timer() is None


def test_an_exchange_that_is_no_observation_may_end(quiet):
    quiet.observing.exchange_ended(99)
    assert quiet.observing.observations == 0


def test_numbers_of_notifications_ascend_over_all_observations(quiet):
    quiet.ask(GET, "/3/0/9", observe=0)
    for level in range(5):
        quiet.change("/3/0/9", level + 1)
    numbers = [each.response.observe for _, each in quiet.notified]
    assert numbers == [2, 3, 4, 5, 6]


def test_a_discover_with_observe_is_a_discover(quiet):
    quiet.code(PUT, "/3/0", "pmin=5")
    served = quiet.ask(GET, "/3/0", observe=0, accept=content_formats.LINK_FORMAT)
    assert (served.operation, served.response.observe) == ("discover", None)


def test_an_observe_value_without_meaning_is_ignored(quiet):
    served = quiet.ask(GET, "/3/0/9", observe=5)
    assert (served.operation, served.response.observe) == ("read", None)
