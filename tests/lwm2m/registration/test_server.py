"""A server's table of registrations: renewals, replacements, lifetimes, and who may touch what."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lwm2m.coap.codes import code_text
from lwm2m.errors import IllegalTransition, RegistrationRefused, UnknownRegistration
from lwm2m.registration import (
    NO_CHANGE,
    Registered,
    RegisterRequest,
    RegistrationEnded,
    RegistrationTable,
    UpdateRequest,
    read_objects,
)

PEER = ("127.0.0.1", 5683)
OTHER = ("127.0.0.2", 5683)
OBJECTS = read_objects(b"</1/0>,</3/0>")


def _table(registrations_max: int = 100) -> RegistrationTable:
    numbers = itertools.count(1)
    return RegistrationTable(lambda: f"r{next(numbers)}", registrations_max)


def _request(endpoint_name: str = "lamp", lifetime_s: int = 60) -> RegisterRequest:
    return RegisterRequest(endpoint_name, lifetime_s, "1.1", OBJECTS)


def _ids(ended: list[RegistrationEnded]) -> list[str]:
    return [one.registration.registration_id for one in ended]


def test_a_device_is_found_by_its_id_and_its_endpoint_name() -> None:
    table = _table()
    registered = table.register(_request(), PEER, None, now=5.0)
    registration = registered.registration
    assert registered == Registered(registration, None)
    assert table.by_id("r1") is table.by_endpoint("lamp") is registration
    assert (registration.registered_at, registration.expires_at) == (5.0, 65.0)
    assert list(table) == [registration]


def test_a_register_of_the_same_endpoint_replaces_the_registration() -> None:
    table = _table()
    first = table.register(_request(), PEER, None, now=0.0).registration
    second = table.register(_request(), OTHER, None, now=1.0)
    assert second.ended == RegistrationEnded(first, "replaced")
    assert table.by_id("r1") is None
    assert table.by_endpoint("lamp") is second.registration
    assert len(table) == 1


def test_a_register_after_the_lifetime_tells_that_the_old_registration_expired() -> None:
    table = _table()
    table.register(_request(), PEER, None, now=0.0)
    ended = table.register(_request(), PEER, None, now=60.0).ended
    assert ended is not None
    assert ended.reason == "expired"
    assert table.expire_registrations(100.0) == []


def test_an_update_renews_and_takes_over_what_it_says() -> None:
    table = _table()
    before = table.register(_request(), PEER, None, now=0.0).registration
    changes = UpdateRequest(lifetime_s=30, objects=read_objects(b"</1/0>"), queue_mode=True)
    updated = table.update("r1", changes, PEER, None, now=50.0)
    after = updated.registration
    assert updated.before is before
    assert updated.objects_changed
    assert (after.lifetime_s, after.binding, after.queue_mode) == (30, "U", True)
    assert (after.registered_at, after.renewed_at, after.expires_at) == (0.0, 50.0, 80.0)
    assert table.by_endpoint("lamp") is after


def test_an_empty_update_renews_only() -> None:
    table = _table()
    before = table.register(_request(), PEER, None, now=0.0).registration
    updated = table.update("r1", UpdateRequest(), PEER, None, now=59.0)
    assert not updated.objects_changed
    assert updated.registration.objects is before.objects
    assert table.expire_registrations(60.0) == []
    assert _ids(table.expire_registrations(119.0)) == ["r1"]


@pytest.mark.parametrize(("lifetime_s", "expires_at"), [(60, 110.0), (0, math.inf)])
@pytest.mark.parametrize("peer", [PEER, OTHER])
def test_an_update_that_says_nothing_renews_and_changes_nothing_but_the_address(
    lifetime_s: int, expires_at: float, peer: tuple[str, int]
) -> None:
    table = _table()
    before = table.register(_request(lifetime_s=lifetime_s), PEER, "lamp", now=0.0).registration
    renewed = table.update("r1", NO_CHANGE, peer, "lamp", now=50.0)
    assert renewed.before is before
    after = renewed.registration
    assert table.by_id("r1") is table.by_endpoint("lamp") is after
    assert (after.peer, after.renewed_at, after.expires_at) == (peer, 50.0, expires_at)
    assert (after.registered_at, after.objects) == (0.0, before.objects)
    assert table.expire_registrations(now=60.0) == []
    assert _ids(table.expire_registrations(now=110.0)) == (["r1"] if lifetime_s else [])


def test_update_and_deregister_after_expiry_are_answered_not_found() -> None:
    table = _table()
    table.register(_request(), PEER, None, now=0.0)
    for now in (60.0, 61.0):
        with pytest.raises(UnknownRegistration) as caught:
            table.update("r1", UpdateRequest(), PEER, None, now)
        assert code_text(caught.value.code) == "4.04"
        with pytest.raises(UnknownRegistration):
            table.deregister("r1", PEER, None, now)
    assert _ids(table.expire_registrations(61.0)) == ["r1"]


def test_a_client_ends_its_registration_once() -> None:
    table = _table()
    registration = table.register(_request(), PEER, None, now=0.0).registration
    assert table.deregister("r1", PEER, None, 1.0) == RegistrationEnded(registration, "client")
    assert len(table) == 0
    with pytest.raises(UnknownRegistration):
        table.deregister("r1", PEER, None, 1.0)
    assert table.expire_registrations(1e9) == []


def test_without_security_only_the_address_that_registered_may_change_it() -> None:
    table = _table()
    table.register(_request(), PEER, None, now=0.0)
    with pytest.raises(UnknownRegistration):
        table.update("r1", UpdateRequest(), OTHER, None, 1.0)
    with pytest.raises(UnknownRegistration):
        table.deregister("r1", OTHER, None, 1.0)


def test_a_proven_identity_may_come_from_a_new_address_and_nobody_else_may() -> None:
    table = _table()
    table.register(_request(), PEER, "lamp", now=0.0)
    assert table.update("r1", UpdateRequest(), OTHER, "lamp", 1.0).registration.peer == OTHER
    for identity in (None, "meter"):
        with pytest.raises(UnknownRegistration):
            table.update("r1", UpdateRequest(), OTHER, identity, 1.0)


def test_nobody_without_security_replaces_a_registration_that_was_made_with_it() -> None:
    table = _table()
    table.register(_request(), PEER, "lamp", now=0.0)
    with pytest.raises(RegistrationRefused) as caught:
        table.register(_request(), OTHER, None, now=59.0)
    assert code_text(caught.value.code) == "4.03"
    assert table.register(_request(), OTHER, "lamp", now=59.0).ended is not None
    assert table.register(_request(), OTHER, None, now=119.0).registration.identity is None


def test_a_lifetime_of_zero_never_ends() -> None:
    table = _table()
    registration = table.register(_request(lifetime_s=0), PEER, None, now=0.0).registration
    assert registration.expires_at == math.inf
    assert table.next_timer() is None
    assert table.expire_registrations(1e12) == []
    table.update("r1", UpdateRequest(lifetime_s=10), PEER, None, now=100.0)
    assert table.next_timer() == 110.0
    table.update("r1", UpdateRequest(lifetime_s=0), PEER, None, now=105.0)
    assert table.expire_registrations(1e12) == []
    assert table.next_timer() is None


def test_a_shorter_lifetime_ends_earlier() -> None:
    table = _table()
    table.register(_request(lifetime_s=1000), PEER, None, now=0.0)
    table.update("r1", UpdateRequest(lifetime_s=5), PEER, None, now=1.0)
    assert table.next_timer() == 6.0
    assert _ids(table.expire_registrations(6.0)) == ["r1"]
    assert table.expire_registrations(2000.0) == []


def test_registrations_expire_in_the_order_of_their_ends() -> None:
    table = _table()
    for name, lifetime_s in (("a", 30), ("b", 10), ("c", 20)):
        table.register(_request(name, lifetime_s), PEER, None, now=0.0)
    assert _ids(table.expire_registrations(100.0, count_max=2)) == ["r2", "r3"]
    assert _ids(table.expire_registrations(100.0, count_max=2)) == ["r1"]


def test_a_full_table_takes_known_devices_only() -> None:
    table = _table(registrations_max=1)
    table.register(_request("a"), PEER, None, now=0.0)
    with pytest.raises(RegistrationRefused) as caught:
        table.register(_request("b"), PEER, None, now=0.0)
    assert (code_text(caught.value.code), caught.value.reason) == ("5.03", "table_full")
    assert table.register(_request("a"), PEER, None, now=1.0).registration.registration_id == "r2"


def test_an_id_that_is_taken_is_drawn_again() -> None:
    drawn = iter(["x", "x", "y"])
    table = RegistrationTable(lambda: next(drawn))
    table.register(_request("a"), PEER, None, now=0.0)
    assert table.register(_request("b"), PEER, None, now=0.0).registration.registration_id == "y"


def test_many_register_together_as_one_by_one() -> None:
    together, by_one = _table(), _table()
    requests = [_request(f"lamp-{number}", (60, 0, 60, 5)[number % 4]) for number in range(8)]
    names = [request.endpoint_name for request in requests]
    peers = [("127.0.0.1", number) for number in range(8)]
    made = together.register_all_new(requests, names, peers, 7.0)
    for request, name, peer in zip(requests, names, peers, strict=True):
        by_one.register_new(request, name, peer, None, 7.0)
    assert made == list(together) == list(by_one)
    assert [together.by_endpoint(name) for name in names] == made
    for now in (12.0, 67.0, 1e9):
        assert together.next_timer() == by_one.next_timer()
        assert _ids(together.expire_registrations(now)) == _ids(by_one.expire_registrations(now))


@pytest.mark.parametrize("drawn", [["a", "a", "b", "c"], ["taken", "b", "c", "d"]])
def test_ids_of_many_are_drawn_again_when_one_is_taken(drawn: list[str]) -> None:
    ids = iter(["taken", *drawn])
    table = RegistrationTable(lambda: next(ids))
    table.register(_request("other"), ("127.0.0.1", 9), None, 0.0)
    names = ["lamp-1", "lamp-2"]
    made = table.register_all_new(
        [_request(name) for name in names], names, [("127.0.0.1", 1), ("127.0.0.1", 2)], 0.0
    )
    assert [registration.registration_id for registration in made] == drawn[2:]


def test_a_registration_that_was_kept_goes_on_where_it_was() -> None:
    registration = _table().register(_request(), PEER, None, now=0.0).registration
    table = _table()
    table.restore(registration)
    assert table.by_endpoint("lamp") is registration
    assert _ids(table.expire_registrations(60.0)) == ["r1"]
    table.restore(registration)
    with pytest.raises(IllegalTransition):
        table.restore(registration)


def test_one_request_registers_devices_under_names_of_their_own() -> None:
    table = _table(registrations_max=2)
    for name in ("lamp-1", "lamp-2"):
        assert not table.is_full
        made = table.register(_request(""), PEER, None, 0.0, name).registration
        assert made.endpoint_name == name
        assert table.by_endpoint(name) is made
    assert table.is_full
    assert table.by_endpoint("") is None


def test_a_living_registration_is_given_to_who_may_change_it_only() -> None:
    table = _table()
    held = table.register(_request(), PEER, None, now=0.0).registration
    kept = table.register(_request("other", 0), PEER, "me", now=0.0).registration
    assert table.living("r1", PEER, None, 59.0) is held
    assert table.living("r1", PEER, None, 60.0) is None
    assert table.living("r1", OTHER, None, 59.0) is None
    assert table.living("r1", PEER, "me", 59.0) is None
    assert table.living("r3", PEER, None, 59.0) is None
    assert table.living("r2", OTHER, "me", 1e9) is kept


@pytest.mark.slow
def test_a_hundred_thousand_devices_expire_from_one_wheel() -> None:
    table = _table(registrations_max=100_000)
    for number in range(100_000):
        table.register(_request(f"lamp-{number}", 60 + number % 7), PEER, None, now=0.0)
    for number in range(0, 100_000, 2):
        table.update(f"r{number + 1}", UpdateRequest(), PEER, None, now=50.0)
    ended = table.expire_registrations(66.0, count_max=100_000)
    assert len(ended) == 50_000
    assert {one.registration.renewed_at for one in ended} == {0.0}


class TableMachine(RuleBasedStateMachine):
    """Drives the table beside a dictionary that says what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = _table(registrations_max=4)
        self.ends: dict[str, tuple[str, float]] = {}

    @rule(name=st.sampled_from("abcde"), lifetime_s=st.integers(0, 20))
    def register(self, name: str, lifetime_s: int) -> None:
        if name not in self.ends and len(self.ends) == 4:
            with pytest.raises(RegistrationRefused):
                self.table.register(_request(name, lifetime_s), PEER, None, self.now)
            return
        registered = self.table.register(_request(name, lifetime_s), PEER, None, self.now)
        assert (registered.ended is None) == (name not in self.ends)
        self._keep(name, registered.registration.registration_id, lifetime_s)

    @precondition(lambda self: self.ends)
    @rule(data=st.data(), lifetime_s=st.integers(0, 20))
    def update(self, data: st.DataObject, lifetime_s: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.ends)))
        registration_id, end = self.ends[name]
        update = UpdateRequest(lifetime_s=lifetime_s)
        if end <= self.now:
            with pytest.raises(UnknownRegistration):
                self.table.update(registration_id, update, PEER, None, self.now)
            return
        self.table.update(registration_id, update, PEER, None, self.now)
        self._keep(name, registration_id, lifetime_s)

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def deregister(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.ends)))
        registration_id, end = self.ends[name]
        if end > self.now:
            assert self.table.deregister(registration_id, PEER, None, self.now).reason == "client"
            del self.ends[name]

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        due = {found for found, end in self.ends.values() if end <= self.now}
        assert set(_ids(self.table.expire_registrations(self.now))) == due
        self.ends = {name: kept for name, kept in self.ends.items() if kept[0] not in due}

    def _keep(self, name: str, registration_id: str, lifetime_s: int) -> None:
        self.ends[name] = (registration_id, self.now + lifetime_s if lifetime_s else math.inf)

    @invariant()
    def the_table_holds_what_it_must(self) -> None:
        assert {r.endpoint_name: (r.registration_id, r.expires_at) for r in self.table} == self.ends
        ends = [end for _, end in self.ends.values() if end < math.inf]
        timer = self.table.next_timer()
        # The timer may be early, never late.
        assert not ends or (timer is not None and timer <= min(ends))


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTableMachine = pytest.mark.slow(TestTableMachine)


def test_an_update_with_profiles_replaces_those_that_were_there() -> None:
    table = _table()
    registration = table.register(_request("lamp-1"), PEER, None, 0.0).registration
    kept = table.update(registration.registration_id, UpdateRequest(), PEER, None, 1.0)
    assert kept.registration.profile_ids == ()
    changed = UpdateRequest(profile_ids=("oma:x",))
    found = table.update(registration.registration_id, changed, PEER, None, 2.0)
    assert found.registration.profile_ids == ("oma:x",)


def test_a_renewal_in_the_very_second_of_the_end_is_in_time() -> None:
    table = _table()
    table.register(_request(lifetime_s=10), PEER, None, now=0.5)
    assert table.expire_registrations(10.0) == []
    table.update("r1", UpdateRequest(), PEER, None, now=10.25)
    assert table.expire_registrations(10.75) == []
    assert _ids(table.expire_registrations(20.25)) == ["r1"]
