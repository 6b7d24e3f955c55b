"""The ETS's information reporting cases that judge the client (facts §2.3), each by its id."""

from fake_devices.device import ServerAccount
from fake_devices.device.send import encode_send, is_send_muted, readings_of
from lwm2m.coap import Request, codes
from lwm2m.codecs import content_formats, decode_payload, encode_paths
from lwm2m.objects import ObjectPath
from tests.fake_devices.device.several_servers import DEVICE, ONE, World

SENML_CBOR, TEXT = content_formats.SENML_CBOR, content_formats.TEXT
GET, PUT, POST, DELETE, FETCH = codes.GET, codes.PUT, codes.POST, codes.DELETE, codes.FETCH


def observe_composite(managed, *paths, observe=0):
    payload = encode_paths(SENML_CBOR, [ObjectPath.parse(each) for each in paths])
    return managed.ask(
        FETCH, "/", payload=payload, content_format=SENML_CBOR, observe=observe
    ).response


def test_int_301_660_battery_voltage_and_current_are_observed_with_periods(managed):
    for path in ("/3/0/7", "/3/0/8"):
        assert managed.code(PUT, path, "pmin=5", "pmax=15") == "2.04"
    answer = managed.ask(GET, "/3/0/7", observe=0).response
    assert (answer.code, answer.observe) == (codes.CONTENT, 1)
    assert managed.ask(GET, "/3/0/8", observe=0).response.observe == 2
    managed.run(2)
    managed.change("/3/0/7/0", 3800)
    assert managed.notified == []
    managed.run(30)
    times = [at for at, _ in managed.notified]
    assert times == [1005.0, 1015.0, 1020.0, 1030.0]
    first = managed.notified[0][1].response
    assert managed.values(first, "/3/0/7") == {"/3/0/7/0": 3800, "/3/0/7/1": 0}
    observes = [notify.response.observe for _, notify in managed.notified]
    assert observes == sorted(set(observes))


def test_int_302_an_observation_ends_when_a_notification_is_reset():
    world = World([ServerAccount(short_server_id=1, uri=ONE)])
    (server,) = world.start(ONE)
    request = Request(GET, ("3", "0", "14"), accept=TEXT, observe=0)
    exchange = server.endpoint.send_request(DEVICE, request, world.now)
    world.run(1)
    server.write("/3/0/14", "+01:00")
    assert b"+01:00" in [each.payload for each in server.responses]
    # Forgotten here, the next notification is answered with a reset.
    server.endpoint.cancel(exchange, world.now)
    server.write("/3/0/14", "+02:00")
    before = len(server.responses)
    assert server.write("/3/0/14", "+03:00") == "2.04"
    assert len(server.responses) == before + 1, "the answer to the Write, and no notification"


def test_int_303_an_observation_ends_with_observe_1():
    world = World([ServerAccount(short_server_id=1, uri=ONE)])
    (server,) = world.start(ONE)
    request = Request(GET, ("3", "0", "14"), accept=TEXT, observe=0)
    exchange = server.endpoint.send_request(DEVICE, request, world.now)
    world.run(1)
    server.endpoint.end_observation(exchange, world.now)
    world.run(1)
    answer = server.responses[-1]
    assert (answer.code, answer.observe) == (codes.CONTENT, None)
    before = len(server.responses)
    assert server.write("/3/0/14", "+03:00") == "2.04"
    assert len(server.responses) == before + 1


def test_int_302_an_observation_that_is_reset_says_nothing_more(managed):
    managed.ask(GET, "/3/0/7", observe=0)
    managed.observing.exchange_ended(1)
    managed.change("/3/0/7/0", 3800)
    managed.run(100)
    assert managed.notified == []


def test_int_303_the_cancelling_request_is_a_read(managed12):
    managed12.ask(GET, "/3/0/7", "pmin=5", observe=0)
    # CoAP ends the observation of this token, and hands the request on.
    managed12.observing.exchange_ended(1)
    answer = managed12.ask(GET, "/3/0/7", "pmin=5", observe=1).response
    assert (answer.code, answer.observe) == (codes.CONTENT, None)
    assert managed12.observing.observations == 0


def test_int_304_a_composite_observation_honours_its_periods(managed):
    assert managed.code(PUT, "/1/0/1", "pmin=30", "pmax=45") == "2.04"
    answer = observe_composite(managed, "/1/0/1", "/3/0/11/0", "/3/0/16")
    assert answer.observe is not None
    assert managed.values(answer).keys() == {"/1/0/1", "/3/0/11/0", "/3/0/16"}
    managed.run(20)
    managed.change("/3/0/11/0", 1)
    managed.run(60)
    assert [at - 1000 for at, _ in managed.notified] == [30.0, 75.0]


def test_int_304_a_composite_observation_tells_at_its_maximum(managed):
    managed.code(PUT, "/1/0/1", "pmin=30", "pmax=45")
    observe_composite(managed, "/1/0/1", "/3/0/16")
    managed.run(100)
    assert [at - 1000 for at, _ in managed.notified] == [45.0, 90.0]


def test_int_305_a_composite_observation_is_cancelled_with_the_same_paths(managed):
    observe_composite(managed, "/3/0/11", "/1/0/1")
    managed.observing.exchange_ended(1)
    answer = observe_composite(managed, "/3/0/11", "/1/0/1", observe=1)
    assert (answer.code, answer.observe) == (codes.CONTENT, None)
    managed.change("/3/0/11/0", 5)
    assert managed.notified == []


def test_int_306_311_two_values_are_sent(managed):
    paths = [ObjectPath(1, 0, 1), ObjectPath(3, 0, 11), ObjectPath(0, 0), ObjectPath(3, 0, 4)]
    readings = readings_of(managed.tree, paths)
    payload = encode_send(managed.tree, readings, SENML_CBOR)
    nodes = decode_payload(SENML_CBOR, None, payload, managed.models)
    assert {str(path): value for path, value in nodes} == {"/1/0/1": 86_400, "/3/0/11/0": 0}


def test_int_307_send_is_muted_and_unmuted(managed):
    assert is_send_muted(managed.tree, 1), "absent means muted"
    assert managed.write(PUT, "/1/0/23", {"/1/0/23": False}) == "2.04"
    assert not is_send_muted(managed.tree, 1)
    assert managed.write(PUT, "/1/0/23", {"/1/0/23": True}) == "2.04"
    assert is_send_muted(managed.tree, 1)
    assert is_send_muted(managed.tree, 99), "no account"


def test_int_308_a_composite_observation_picks_up_an_instance_created_later(managed):
    managed.write(PUT, "/1/0/2", {"/1/0/2": 0})
    observe_composite(managed, "/16", "/3/0/16")
    assert managed.write(POST, "/16", {"/16/1/0/0": "later"}) == "2.01"
    assert len(managed.told()) == 1
    assert managed.told()[0][1]["/16/1/0/0"] == "later"


def test_int_309_a_composite_observation_drops_a_deleted_instance(managed):
    managed.write(PUT, "/1/0/2", {"/1/0/2": 0})
    managed.write(POST, "/16", {"/16/1/0/0": "later"})
    observe_composite(managed, "/16/0", "/16/1/0", "/3/0/16")
    assert managed.code(DELETE, "/16/1") == "2.02"
    assert managed.told()[0][1].keys() == {"/16/0/0/0", "/16/0/0/1", "/3/0/16"}
    managed.run(30)
    assert len(managed.notified) > 1, "it goes on"


def test_int_310_the_maximum_period_changes_while_a_composite_observation_runs(managed):
    managed.code(PUT, "/1/0/1", "pmax=50")
    managed.write(PUT, "/1/0/3", {"/1/0/3": 100})
    observe_composite(managed, "/1/0/1", "/3/0/16")
    managed.run(60)
    managed.code(PUT, "/1/0/1", "pmax=20")
    managed.run(45)
    assert [at - 1000 for at, _ in managed.notified] == [50.0, 70.0, 90.0]


def test_int_310_the_server_s_default_changes_while_an_observation_runs(managed):
    managed.ask(GET, "/3/0/16", observe=0)
    managed.run(10)
    assert len(managed.notified) == 1
    managed.write(PUT, "/1/0/3", {"/1/0/3": 40})
    managed.run(45)
    assert [at - 1000 for at, _ in managed.notified] == [10.0, 50.0]


def test_int_312_attributes_come_with_the_observation(managed12):
    answer = managed12.ask(GET, "/3/0/7/0", "pmin=5", "pmax=15", "gt=3000", observe=0).response
    assert answer.observe == 1
    managed12.change("/3/0/7/0", 2999)
    managed12.run(10)
    assert managed12.notified == []
    managed12.change("/3/0/7/0", 3001)
    managed12.run(16)
    assert [at - 1000 for at, _ in managed12.notified] == [10.0, 25.0]
    assert managed12.links("/3/0/7")["/3/0/7/0"] == {}


def test_int_313_parameters_of_the_observation_win_over_attached_attributes(managed12):
    managed12.code(PUT, "/3/0/7", "pmin=50", "pmax=150")
    managed12.ask(GET, "/3/0/7", "pmin=5", "pmax=15", observe=0)
    managed12.run(40)
    assert [at - 1000 for at, _ in managed12.notified] == [15.0, 30.0]
    assert managed12.links("/3/0/7")["/3/0/7"]["pmin"] == "50"


def test_int_951_attributes_are_kept_separately_for_each_server(make_managed):
    device = make_managed(
        values={
            "/1/1/0": 2,
            "/1/1/1": 86_400,
            "/1/1/6": True,
            "/1/1/7": "U",
            "/2/0/0": 3,
            "/2/0/1": 0,
            "/2/0/2/0": 1,
            "/2/0/3": 1,
        }
    )
    assert device.code(PUT, "/3/0/7", "pmin=5", server=1) == "2.04"
    assert device.code(PUT, "/3/0/7", "pmin=50", server=2) == "2.04"
    assert device.links("/3/0/7", server=1)["/3/0/7"]["pmin"] == "5"
    assert device.links("/3/0/7", server=2)["/3/0/7"]["pmin"] == "50"
    device.ask(GET, "/3/0/7", observe=0, server=1)
    device.ask(GET, "/3/0/7", observe=0, server=2)
    device.change("/3/0/7/0", 1)
    device.run(60)
    times = {}
    for at, notify in device.notified:
        times.setdefault(notify.exchange, []).append(at - 1000)
    assert [each[0] for _, each in sorted(times.items())] == [5.0, 50.0]
