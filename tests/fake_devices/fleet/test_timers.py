"""One wheel wakes each device at its latest deadline, and once."""

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.fleet.timers import TimerWheel


class HandClock:
    """Monotonic and wall time that a test moves."""

    def __init__(self):
        self.seconds = 100.0

    def now_ns(self):
        return round(self.seconds * 1e9)

    def wall_us(self):
        return round(self.seconds * 1e6)


class HandLoop:
    """The one thing that the wheel asks of a loop."""

    def __init__(self, clock):
        self._clock = clock
        self._calls = []

    def call_later(self, delay_s, callback):
        call = Call(self._clock.seconds + delay_s, callback)
        self._calls.append(call)
        return call

    def move(self, seconds):
        """Let time pass; call what falls due."""
        until = self._clock.seconds + seconds
        while True:
            due = [call for call in self._calls if not call.is_done and call.at <= until]
            if not due:
                break
            first = min(due, key=lambda call: call.at)
            first.is_done = True
            self._clock.seconds = max(self._clock.seconds, first.at)
            first.callback()
        self._clock.seconds = until

    def armed(self):
        return sum(not call.is_done for call in self._calls)


class Call:
    """A timer handle."""

    def __init__(self, at, callback):
        self.at, self.callback, self.is_done = at, callback, False

    def cancel(self):
        self.is_done = True


def make_wheel():
    clock, woken = HandClock(), []
    loop = HandLoop(clock)
    wheel = TimerWheel(clock, loop, lambda number: woken.append((number, clock.seconds)))
    return wheel, loop, woken


def numbers(woken):
    return [number for number, _ in woken]


def test_devices_are_woken_in_the_order_of_their_deadlines():
    wheel, loop, woken = make_wheel()
    for number, deadline in ((1, 103.0), (2, 101.0), (3, 102.0)):
        wheel.set(number, deadline)
    assert loop.armed() == 1, "one loop timer for all"
    loop.move(2.5)
    assert numbers(woken) == [2, 3]
    loop.move(10)
    assert numbers(woken) == [2, 3, 1]
    assert all(
        abs(at - deadline) < 0.01 for (_, at), deadline in zip(woken, (101, 102, 103), strict=True)
    )


def test_a_deadline_replaces_the_one_before():
    wheel, loop, woken = make_wheel()
    wheel.set(1, 101.0)
    wheel.set(1, 105.0)
    wheel.set(2, 104.0)
    wheel.set(2, None)
    wheel.set(2, None)
    loop.move(4.5)
    assert woken == []
    loop.move(1)
    assert numbers(woken) == [1]


def test_a_device_may_set_its_next_deadline_while_it_is_woken():
    clock, count = HandClock(), []
    loop = HandLoop(clock)

    def wake(number):
        count.append(number)
        wheel.set(number, clock.seconds + 1)

    wheel = TimerWheel(clock, loop, wake)
    wheel.set(5, 101.0)
    loop.move(10.5)
    assert len(count) == 10


def test_stale_entries_do_not_pile_up():
    wheel, _, _ = make_wheel()
    for turn in range(20_000):
        wheel.set(turn % 10, 200.0 + turn)
    assert wheel.entries < 1_000


def test_lateness_is_told_once():
    wheel, loop, _ = make_wheel()
    wheel.set(1, 101.0)
    loop.move(2)
    [delay_ns] = wheel.take_delays_ns()
    assert 0 <= delay_ns < 5_000_000
    assert wheel.take_delays_ns() == []


def test_a_closed_wheel_wakes_nobody():
    wheel, loop, woken = make_wheel()
    wheel.set(1, 101.0)
    wheel.close()
    loop.move(10)
    assert woken == []
    assert loop.armed() == 0


steps = st.lists(
    st.tuples(
        st.integers(0, 6), st.none() | st.floats(-2, 20, width=16), st.floats(0, 5, width=16)
    ),
    max_size=40,
)


@given(steps)
def test_every_device_is_woken_once_at_its_latest_deadline_whatever_was_before(plan):
    wheel, loop, woken = make_wheel()
    clock, expected = loop._clock, {}
    for number, delay_s, pause_s in plan:
        if delay_s is None:
            expected.pop(number, None)
            wheel.set(number, None)
        else:
            expected[number] = clock.seconds + delay_s
            wheel.set(number, expected[number])
        due = sorted((at, each) for each, at in expected.items() if at <= clock.seconds + pause_s)
        woken.clear()
        # A loop's timers are not sooner than a millisecond.
        loop.move(pause_s + 0.002)
        early = [each for each in numbers(woken) if each not in [number for _, number in due]]
        assert all(expected[each] <= clock.seconds for each in early)
        assert [each for each in numbers(woken) if each not in early] == [each for _, each in due]
        for each in numbers(woken):
            del expected[each]


def test_far_deadlines_cost_an_entry_each_and_nothing_when_they_are_gone():
    wheel, loop, woken = make_wheel()
    for number in range(5_000):
        wheel.set(number, 200.0 + number % 977)
    assert wheel.entries == 5_000
    loop.move(1_100)
    assert len(woken) == 5_000
    assert wheel.entries == 0
