"""Places that a flood cannot take, and turns that it cannot have all of."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from city_platform.identity.addresses import ADDRESSES_KEPT
from city_platform.identity.config import AddressBudget, IdentityConfig, LockOut
from city_platform.identity.door import Door
from city_platform.identity.passwords import TooManySignIns
from city_platform.identity.refusals import Refusal
from city_platform.identity.waiting_room import Lane, NoPlace, Visitor, WaitingRoom
from tests.city_platform.audit.logs import HandClock

STRANGER, FAMILIAR, KNOWN = Lane


def visitor(number: int, lane: Lane = STRANGER, address: str | None = None) -> Visitor:
    return Visitor(f"name-{number}", address or f"192.0.2.{number}", lane)


def test_a_flood_of_names_and_addresses_leaves_places_for_the_familiar_and_the_known() -> None:
    room: WaitingRoom[int] = WaitingRoom(64, per_name=6, per_address=16)
    entered = [room.enter(visitor(number)) for number in range(200)]
    assert Counter(entered) == {None: 48, NoPlace.ROOM: 152}
    familiar = [room.enter(visitor(number, FAMILIAR)) for number in range(300, 320)]
    assert Counter(familiar) == {None: 8, NoPlace.ROOM: 12}
    known = [room.enter(visitor(number, KNOWN)) for number in range(400, 420)]
    assert Counter(known) == {None: 8, NoPlace.ROOM: 12}
    assert len(room) == 64
    room.leave(visitor(0))
    assert room.enter(visitor(0)) is NoPlace.ROOM  # what is kept is still full
    assert room.enter(visitor(401, KNOWN)) is None


def test_one_address_and_one_name_have_so_many_places() -> None:
    room: WaitingRoom[int] = WaitingRoom(64, per_name=2, per_address=5)
    from_one = [room.enter(visitor(number, address="192.0.2.1")) for number in range(9)]
    assert Counter(from_one) == {None: 5, NoPlace.ADDRESS: 4}
    # Who is known comes through the same gate as the flood, and does not wait behind it.
    assert room.enter(visitor(100, KNOWN, "192.0.2.1")) is None
    for_one = [room.enter(Visitor("ann", f"198.51.100.{n}", STRANGER)) for n in range(4)]
    assert Counter(for_one) == {None: 2, NoPlace.NAME: 2}
    room.leave(visitor(0, address="192.0.2.1"))
    assert room.enter(visitor(50, address="192.0.2.1")) is None


def test_turns_go_around_the_lanes_and_around_the_addresses() -> None:
    room: WaitingRoom[str] = WaitingRoom(64, per_name=64, per_address=64)
    for number in range(4):
        room.wait(visitor(1), f"flood {number}")
    room.wait(visitor(2), "one")
    room.wait(visitor(3, FAMILIAR), "familiar")
    room.wait(visitor(4, KNOWN), "known 0")
    room.wait(visitor(4, KNOWN), "known 1")
    called = [room.call() for _ in range(9)]
    assert called == [
        "known 0", "familiar", "flood 0", "known 1", "one", "flood 1", "flood 2", "flood 3", None,
    ]  # fmt: skip


def test_who_gives_up_is_not_called() -> None:
    room: WaitingRoom[str] = WaitingRoom(8, per_name=8, per_address=8)
    room.wait(visitor(1), "first")
    room.wait(visitor(1), "second")
    room.give_up(visitor(1), "first")
    room.give_up(visitor(1), "never came")
    assert [room.call(), room.call()] == ["second", None]
    room.give_up(visitor(1), "second")


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_left_when_all_have_left(seed: int) -> None:
    chance = random.Random(seed)
    room: WaitingRoom[int] = WaitingRoom(16, per_name=4, per_address=4)
    inside: list[Visitor] = []
    for _ in range(500):
        comes = visitor(chance.randrange(5), chance.choice(list(Lane)))
        if room.enter(comes) is None:
            inside.append(comes)
        if inside and chance.random() < 0.5:
            room.leave(inside.pop(chance.randrange(len(inside))))
        assert len(room) == len(inside) <= 16
    while inside:
        room.leave(inside.pop())
    assert vars(room)["_names"] == vars(room)["_addresses"] == Counter()


def door_of(**changes: object) -> tuple[Door, HandClock, Counter[str]]:
    counts: Counter[str] = Counter()
    clock = HandClock()
    config = IdentityConfig(state_dir="", token_file="", **changes)  # type: ignore[arg-type] # any
    return Door(config, clock.now_ns, counts), clock, counts


def test_one_has_the_turn_and_who_hangs_up_passes_it_on() -> None:
    async def story() -> None:
        door, _, _ = door_of()
        order: list[int] = []
        go = asyncio.Event()

        async def sign_in(number: int) -> None:
            async with door.turn(visitor(number)):
                order.append(number)
                await go.wait()

        tasks = [asyncio.ensure_future(sign_in(number)) for number in range(4)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert order == [0]
        tasks[1].cancel()
        go.set()
        await asyncio.sleep(0)
        # The second has the turn, and its client hangs up before it knows.
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert order == [0, 3]
        async with asyncio.timeout(60), door.turn(visitor(9)):
            order.append(9)
        assert order[-1] == 9

    asyncio.run(story())


def test_a_spent_address_is_refused_until_its_time_and_who_is_known_is_not() -> None:
    async def story() -> None:
        door, clock, counts = door_of(address_budget=AddressBudget(wrong_free=2, each_s=30.0))
        for number in range(2):
            async with door.turn(visitor(number, address="a")):
                door.count(visitor(number, address="a"), is_right=False)
        with pytest.raises(Refusal, match="wait 30 s") as caught:
            door.check_budget("a")
        assert (caught.value.status, caught.value.retry_after_s) == (429, 30.0)
        with pytest.raises(Refusal):
            async with door.turn(visitor(3, address="a")):
                raise AssertionError("it has no turn")
        async with door.turn(visitor(4, KNOWN, "a")):
            door.count(visitor(4, KNOWN, "a"), is_right=False)
        clock.move(30.0)
        door.check_budget("a")
        assert counts["sign_ins_address_spent"] == 2

    asyncio.run(story())


def test_each_refusal_has_its_count() -> None:
    async def story() -> None:
        door, _, counts = door_of(
            sign_ins_waiting_max=4, sign_ins_waiting_per_address_max=2,
            lock_out=LockOut(failures_free=1),
        )  # fmt: skip

        async def inside(comer: Visitor) -> None:
            async with door.turn(comer):
                await asyncio.Event().wait()

        comers = [
            visitor(1, address="a"), visitor(2, address="a"), visitor(3, address="b"),
            Visitor("name-3", "c", STRANGER),
        ]  # fmt: skip
        tasks = [asyncio.ensure_future(inside(comer)) for comer in comers]
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="from your address"):
            await inside(visitor(4, address="a"))
        with pytest.raises(Refusal, match="too many sign-ins at once"):
            await inside(Visitor("name-3", "d", STRANGER))
        with pytest.raises(TooManySignIns):
            await inside(visitor(5, address="e"))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert counts == {
            "sign_ins_too_many_from_address": 1, "sign_ins_while_locked": 1, "sign_ins_too_many": 1
        }  # fmt: skip

    asyncio.run(story())


def test_all_that_is_kept_of_addresses_is_bounded() -> None:
    door, _, _ = door_of()
    for number in range(ADDRESSES_KEPT + 100):
        door.count(Visitor("n", str(number), STRANGER), is_right=bool(number % 2))
    assert len(vars(door)["_addresses"]) <= 2 * ADDRESSES_KEPT
