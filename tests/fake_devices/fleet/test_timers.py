"""One heap wakes each device at its latest deadline, and once."""

from fake_devices.fleet.timers import TimerHeap


class HandClock:
    """Monotonic and wall time that a test moves."""

    def __init__(self):
        self.seconds = 100.0

    def now_ns(self):
        return round(self.seconds * 1e9)

    def wall_us(self):
        return round(self.seconds * 1e6)


class HandLoop:
    """The one thing that the heap asks of a loop."""

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


def make_heap():
    clock, woken = HandClock(), []
    loop = HandLoop(clock)
    heap = TimerHeap(clock, loop, lambda number: woken.append((number, clock.seconds)))
    return heap, loop, woken


def numbers(woken):
    return [number for number, _ in woken]


def test_devices_are_woken_in_the_order_of_their_deadlines():
    heap, loop, woken = make_heap()
    for number, deadline in ((1, 103.0), (2, 101.0), (3, 102.0)):
        heap.set(number, deadline)
    assert loop.armed() == 1, "one loop timer for all"
    loop.move(2.5)
    assert numbers(woken) == [2, 3]
    loop.move(10)
    assert numbers(woken) == [2, 3, 1]
    assert all(
        abs(at - deadline) < 0.01 for (_, at), deadline in zip(woken, (101, 102, 103), strict=True)
    )


def test_a_deadline_replaces_the_one_before():
    heap, loop, woken = make_heap()
    heap.set(1, 101.0)
    heap.set(1, 105.0)
    heap.set(2, 104.0)
    heap.set(2, None)
    heap.set(2, None)
    loop.move(4.5)
    assert woken == []
    loop.move(1)
    assert numbers(woken) == [1]


def test_a_device_may_set_its_next_deadline_while_it_is_woken():
    clock, count = HandClock(), []
    loop = HandLoop(clock)

    def wake(number):
        count.append(number)
        heap.set(number, clock.seconds + 1)

    heap = TimerHeap(clock, loop, wake)
    heap.set(5, 101.0)
    loop.move(10.5)
    assert len(count) == 10


def test_stale_entries_do_not_pile_up():
    heap, _, _ = make_heap()
    for turn in range(20_000):
        heap.set(turn % 10, 200.0 + turn)
    assert len(heap._heap) < 1_000


def test_lateness_is_told_once():
    heap, loop, _ = make_heap()
    heap.set(1, 101.0)
    loop.move(2)
    [delay_ns] = heap.take_delays_ns()
    assert 0 <= delay_ns < 5_000_000
    assert heap.take_delays_ns() == []


def test_a_closed_heap_wakes_nobody():
    heap, loop, woken = make_heap()
    heap.set(1, 101.0)
    heap.close()
    loop.move(10)
    assert woken == []
    assert loop.armed() == 0
