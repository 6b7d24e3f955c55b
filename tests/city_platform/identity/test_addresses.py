"""What an address is counted as, what it may get wrong, and how much of it is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.identity.addresses import Addresses, counted_address
from city_platform.identity.config import AddressBudget

S = 1_000_000_000
BUDGET = AddressBudget(wrong_free=3, each_s=10.0)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        # Whoever has one address of an IPv6 network has all of them.
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.7, 10.0.0.1", None),
        ("192.0.2.007", None),
        ("unknown", None),
        ("", None),
        ("1" * 10_000, None),
    ],
)
def test_an_address_is_counted_by_who_has_it(text: str, counted: str | None) -> None:
    assert counted_address(text) == counted


@given(st.text(max_size=80))
def test_whatever_is_no_address_is_told_from_one(text: str) -> None:
    found = counted_address(text)
    assert found is None or counted_address(found.partition("/")[0]) == found


def test_so_many_wrong_ones_are_free_and_come_back_one_by_one() -> None:
    addresses = Addresses(BUDGET, familiar_s=100.0)
    for _ in range(3):
        assert addresses.wait_s("a", 0) == 0
        addresses.count("a", is_right=False, now_ns=0)
    assert addresses.wait_s("a", 0) == 10.0
    assert addresses.wait_s("a", 4 * S) == 6.0
    assert addresses.wait_s("b", 0) == 0
    assert addresses.wait_s("a", 10 * S) == 0
    addresses.count("a", is_right=False, now_ns=10 * S)
    assert addresses.wait_s("a", 10 * S) == 10.0
    assert [addresses.wait_s("a", 40 * S), addresses.wait_s("a", 400 * S)] == [0, 0]


def test_who_has_an_account_gets_nothing_back_by_signing_in_to_it() -> None:
    addresses = Addresses(BUDGET, familiar_s=100.0)
    for _ in range(3):
        addresses.count("a", is_right=False, now_ns=0)
        addresses.count("a", is_right=True, now_ns=0)
    assert addresses.wait_s("a", 0) == 10.0


def test_an_address_is_familiar_for_a_time_after_a_sign_in() -> None:
    addresses = Addresses(BUDGET, familiar_s=100.0)
    assert not addresses.is_familiar("a", 0)
    addresses.count("a", is_right=False, now_ns=0)
    assert not addresses.is_familiar("a", 0)
    addresses.count("a", is_right=True, now_ns=0)
    assert addresses.is_familiar("a", 99 * S)
    assert not addresses.is_familiar("a", 100 * S)


def test_addresses_that_strangers_choose_take_so_much_memory_and_no_more() -> None:
    addresses = Addresses(BUDGET, familiar_s=100.0, kept_max=10)
    addresses.count("office", is_right=True, now_ns=0)
    for number in range(1_000):
        addresses.count(f"2001:db8:{number:x}::/64", is_right=False, now_ns=0)
    # The flood's go, and nobody's who has signed in.
    assert len(addresses) == 11
    assert addresses.is_familiar("office", 1 * S)
