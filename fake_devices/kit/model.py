"""A device of one's own: objects declared, values bound, functions called on writes and executes.

What is declared here becomes a `DeviceModel`, which the device core treats like those of the fleet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from contracts.telemetry import Severity
from fake_devices.device import LwM2mVersion, ModelTemplate, Served, ServerAccount, make_template
from fake_devices.devices import AlarmRule, Changes, DeviceIdentity, DeviceModel, Incident, Values
from fake_devices.devices.model import Memory, changed
from fake_devices.kit.declaring import Bound, Checks, IllegalDeclaration, Measure
from lwm2m.firmware import FirmwareSettings
from lwm2m.objects import Models, ObjectPath, Value

_log = logging.getLogger(__name__)

OnWrite: TypeAlias = Callable[[Any], object]
OnExecute: TypeAlias = Callable[[dict[int, str | None]], object]
IsRaised: TypeAlias = Callable[[Any], bool]

_SERVER: Final = ObjectPath(1, 0)
_DEVICE: Final = ObjectPath(3, 0)
_BASICS: Final[Changes] = {
    ObjectPath(1, 0, 0): 101,
    ObjectPath(1, 0, 1): 300,
    ObjectPath(1, 0, 6): True,
    ObjectPath(1, 0, 7): "U",
    ObjectPath(3, 0, 0): "Lamplighter device kit",
    ObjectPath(3, 0, 11, 0): 0,
    ObjectPath(3, 0, 16): "U",
}
_CURRENT_TIME: Final = ObjectPath(3, 0, 13)
# Without it a device may not send values unasked (LwM2M 1.1, /1/x/23); its server may change it.
_MUTE_SEND: Final = ObjectPath(1, 0, 23)


class OwnModel:
    """Collects declarations; `model` and `template` make of them what a device needs."""

    def __init__(self, models: Models) -> None:
        self.checks = Checks(models)
        self._fixed: Changes = dict(_BASICS)
        if self.checks.models[1].resources.get(23) is not None:
            self._fixed[_MUTE_SEND] = False
        self._measured: dict[ObjectPath, Measure] = {}
        self._instances = {_SERVER, _DEVICE}
        self._reported: list[ObjectPath] = []
        self._alarms: list[AlarmRule] = []
        self._on_write: dict[ObjectPath, OnWrite] = {}
        self._on_execute: dict[ObjectPath, OnExecute] = {}
        # Bound functions and alarm rules that failed the last time: told once.
        self._failing: set[object] = set()
        # What was last measured, and what was there when it was.
        self._last: Changes = {}
        self._as_written: Changes = {}

    # ---- declaring ----

    def add(self, instance: str, values: Mapping[int, Bound], reports: Iterable[int]) -> None:
        """An object instance with its resources; those in `reports` go into every pack.

        Raises `IllegalDeclaration`.
        """
        base = self.checks.path(instance, 2)
        self._instances.add(base)
        for number, bound in values.items():
            self.bind(f"{base}/{number}", bound)
        for number in reports:
            self.report(base.child(number))

    def bind(self, path: str, bound: Bound) -> None:
        """A resource's (or resource instance's) value, or what measures it.

        Raises `IllegalDeclaration`.
        """
        found = self.checks.path(path, 3, 4)
        if isinstance(bound, Mapping):
            if not self.checks.resource(found).multiple or found.depth == 4:
                raise IllegalDeclaration(f"{found}: it has no instances; bind one value")
            for number, each in bound.items():
                self.bind(f"{found}/{number}", each)
            return
        self.checks.form(found)
        self._instances.add(found.instance)
        if callable(bound):
            if self.checks.resource(found).is_executable:
                raise IllegalDeclaration(f"{found}: it is executed; use on_execute")
            self._fixed.pop(found, None)
            self._measured[found] = bound
        else:
            self.checks.value(found, bound)
            self._measured.pop(found, None)
            self._fixed[found] = bound

    def report(self, path: ObjectPath) -> None:
        """Put a bound resource, or all of its bound instances, into every pack."""
        self.checks.reported(path)
        found = sorted(each for each in self._bound() if path.contains(each))
        if not found:
            raise IllegalDeclaration(f"{path}: it is to be reported and has no value")
        self._reported += [each for each in found if each not in self._reported]

    def on_write(self, path: str, handler: OnWrite) -> None:
        """Call `handler` whenever a server wrote at or beneath `path`."""
        found = self.checks.path(path, 2, 3, 4)
        if found.depth > 2:
            self.checks.writable(found)
        self._on_write[found] = handler

    def on_execute(self, path: str, handler: OnExecute) -> None:
        """Call `handler` with the arguments by digit whenever a server executed the resource."""
        found = self.checks.path(path, 3)
        self.checks.executable(found)
        self._instances.add(found.instance)
        self._on_execute[found] = handler

    def alarm(self, name: str, path: str, is_raised: IsRaised, severity: Severity) -> None:
        """An alarm that stands while `is_raised`, asked with the value at `path`, says so."""
        found = self.checks.path(path, 3, 4)
        self.checks.form(found)
        if found not in self._bound():
            raise IllegalDeclaration(f"{found}: alarm {name} is about it, and it has no value")
        stands = False

        def judge(values: Values) -> bool:
            nonlocal stands
            with self._guarded(name, f"alarm {name} could not be judged"):
                stands = bool(is_raised(values.get(found)))
            return stands

        self._alarms.append(AlarmRule(name, found, severity, judge, value_path=found))

    def checked_set(self, path: str, value: Value) -> ObjectPath:
        """The path of a value that may be set while the device runs.

        Raises `IllegalDeclaration`.
        """
        found = self.checks.path(path, 3, 4)
        self.checks.form(found)
        self.checks.value(found, value)
        if found in self._measured:
            raise IllegalDeclaration(f"{found}: a function measures it; call measure() instead")
        if found.instance not in self._instances:
            raise IllegalDeclaration(f"{found}: add {found.instance} before the device runs")
        return found

    def check_whole(self) -> None:
        """Return when the device can run. Raises `IllegalDeclaration`."""
        bound = self._bound()
        for path in sorted(bound & self._measured.keys()):
            if self.checks.resource(path).is_writable and not any(
                above.contains(path) for above in self._on_write
            ):
                raise IllegalDeclaration(
                    f"{path}: servers may write it and a function measures it; on_write has to say "
                    "what a write does"
                )
        for instance in sorted(self._instances):
            for resource in self.checks.models[instance.object_id].resources.values():
                path = instance.child(resource.id)
                if not resource.mandatory or resource.is_executable or not resource.is_readable:
                    continue
                if not any(path.contains(each) for each in bound):
                    raise IllegalDeclaration(f"{path}: {resource.name} is mandatory; bind it")

    # ---- what the device core needs ----

    def model(self, name: str) -> DeviceModel:
        """The declarations as a device model. Raises `IllegalDeclaration`."""
        self.check_whole()
        return DeviceModel(
            name=name,
            objects=tuple(sorted(self._instances)),
            reported=tuple(self._reported),
            alarm_rules=tuple(self._alarms),
            demonstration_incident="",
            new_memory=_no_memory,
            initial=self._initial,
            sense=self._sense,
        )

    def template(
        self,
        model: DeviceModel,
        identity: DeviceIdentity,
        city_s: float,
        lifetime_s: int,
        *,
        accounts: Sequence[ServerAccount],
        lwm2m_version: LwM2mVersion,
        firmware: FirmwareSettings | None,
    ) -> ModelTemplate:
        """What a device of this model is born with."""
        return make_template(
            model,
            identity,
            city_s,
            lifetime_s,
            self.checks.models,
            accounts=accounts,
            lwm2m_version=lwm2m_version,
            firmware=firmware,
            executable=self._on_execute,
        )

    def measure(self) -> Changes:
        """What the bound functions measure now. One that fails, or gives what does not fit, is told
        in the log once, and its last value stays."""
        found: Changes = {}
        for path, function in self._measured.items():
            with self._guarded(path, f"{path} could not be measured"):
                value = function()
                self.checks.value(path, value)
                found[path] = value
        self._last.update(found)
        return found

    def served(self, served: Served, values: Values) -> None:
        """Tell the handlers what a server did."""
        if served.operation == "execute":
            handler = self._on_execute.get(served.touched[0])
            if handler is not None:
                _call(handler, dict(served.arguments), served.touched[0])
        else:
            self._written(served, values)

    # ---- inside ----

    def _bound(self) -> set[ObjectPath]:
        return {*self._fixed, *self._measured}

    def _written(self, served: Served, values: Values) -> None:
        written = dict(values_of(served, values))
        if served.operation != "delete":
            written |= {path: value for path, value in self._as_written.items() if path in written}
        self._as_written = {}
        self._last |= {p: v for p, v in written.items() if p in self._measured and v is not None}
        for above, handler in self._on_write.items():
            found = {path: value for path, value in written.items() if above.contains(path)}
            if found:
                _call(handler, argument_of(above, found, self.checks), above)

    def _sense(
        self,
        identity: DeviceIdentity,
        t_s: float,
        values: Values,
        memory: Memory,
        incidents: Sequence[Incident],
    ) -> tuple[Changes, Memory]:
        # What a server has just written stays until its handler was called, and is kept for it.
        self._as_written = {path: values[path] for path in self._measured if path in values}
        written = {
            path for path, value in self._as_written.items() if value != self._last.get(path)
        }
        found = self.measure()
        return changed(values, {p: v for p, v in found.items() if p not in written}), memory

    def _initial(self, identity: DeviceIdentity, t_s: float) -> Changes:
        return {**self._fixed, **self.measure(), _CURRENT_TIME: int(t_s)}

    def _guarded(self, key: object, text: str) -> _Guard:
        return _Guard(self._failing, key, text)


class _Guard:
    """A boundary: what a device maker's function raises is for its log, at its first failure."""

    def __init__(self, failing: set[object], key: object, text: str) -> None:
        self._failing = failing
        self._key = key
        self._text = text

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        if kind is None:
            self._failing.discard(self._key)
            return False
        if not issubclass(kind, Exception):
            return False
        if self._key not in self._failing:
            self._failing.add(self._key)
            _log.exception("%s", self._text)
        return True


def values_of(served: Served, values: Values) -> Iterator[tuple[ObjectPath, Value | None]]:
    """The values that a request touched, None for those that it took away."""
    for path in served.touched:
        if path.depth > 2:
            yield path, values.get(path)


def argument_of(
    above: ObjectPath, written: Mapping[ObjectPath, Value | None], checks: Checks
) -> object:
    """What a handler for `above` is called with: a value, or values by number."""
    if above in written:
        return written[above]
    found: dict[int, Any] = {}
    for path, value in written.items():
        assert path.resource_id is not None
        if path.resource_instance_id is None:
            found[path.resource_id] = value
        elif above.depth == 3:
            found[path.resource_instance_id] = value
        else:
            found.setdefault(path.resource_id, {})[path.resource_instance_id] = value
    return found


def _call(handler: Callable[[Any], object], argument: object, path: ObjectPath) -> None:
    try:
        handler(argument)
    except Exception:
        # A task's boundary: a handler's fault must not end the device.
        _log.exception("the handler of %s failed", path)


def _no_memory(identity: DeviceIdentity, t_s: float) -> Memory:
    return None
