"""The user class for a locustfile: each of its instances stands for one simulated device.

Import it in files for Locust only: Locust changes the process that imports it. A user costs 9 KB
and no CPU, since its greenlet only waits: its device lives in the worker's fleet process.
"""

from __future__ import annotations

from typing import ClassVar

from gevent.event import Event
from gevent.greenlet import Greenlet
from gevent.pool import Group
from greenlet import GreenletExit
from locust import LoadTestShape, User, events, stats
from locust.env import Environment
from locust.exception import StopUser

from harness.load.worker import Worker, worker_of

__all__ = ["DeviceUser", "LoadTestShape", "User", "events", "stats"]

# What Locust stops at once, also when it stops others with patience.
_WAITING = "waiting"


def stay(user: User) -> None:
    """The task of a user that has none: to be there."""
    Event().wait()


class DeviceUser(User):
    """A device: spawning the user switches it on, stopping the user switches it off.

    `model` chooses which devices of the devices file may be taken, such as `street_lamp`; None
    takes any. Subclasses may have Locust's `weight`, `fixed_count`, and `tasks` that do something
    beside the device, such as to ask the platform's interfaces for it: `endpoint` is its name.
    """

    abstract = True
    model: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Locust wants a task; the one of a class above has to give way to a class's own.
        cls.tasks = [each for each in cls.tasks if each is not stay] or [stay]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.endpoint = ""
        self._position: int | None = None
        self._worker: Worker | None = None

    def on_start(self) -> None:
        """Switch the device on. Raises `StopUser` when no device of the share is left."""
        self._worker = worker_of(self.environment)
        taken = self._worker.switch_on(self.model)
        if taken is None:
            raise StopUser()
        self._position, self.endpoint = taken

    def on_stop(self) -> None:
        """Switch the device off."""
        if self._worker is not None and self._position is not None:
            self._worker.switch_off(self._position)
            self._position = None

    def start(self, group: Group) -> Greenlet:
        """See `User.start`: without tasks of its own it needs none of what runs them."""
        if self.tasks != [stay]:
            return super().start(group)
        self._group = group
        # Locust finds the user of a greenlet in its first argument.
        self._greenlet = group.spawn(DeviceUser.live, self)
        return self._greenlet

    def live(self) -> None:
        """Switch on, be there until killed, switch off."""
        self._state = _WAITING
        try:
            self.on_start()
            stay(self)
        except (GreenletExit, StopUser):
            self.on_stop()
