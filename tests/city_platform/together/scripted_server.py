"""An LwM2M server with its devices, reduced to what a bridge sees of it: the data interface.

It keeps to DESIGN §4 (log, epoch, snapshot, stored outcomes) so that the platform's components can
be tried without the harness; the harness's own emulator is tried by scenarios.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from contracts.data_interface import (
    PATH,
    Ack,
    Command,
    Completes,
    Event,
    EventKind,
    Hello,
    Limits,
    ObjectLink,
    Outcome,
    Registration,
    Result,
    Resume,
    Security,
    Snapshot,
    decode_bridge_frame,
    encode,
)
from runtime.websocket import WebSocketConnection, listen_websocket

LIMITS = Limits(commands_queued_max=9_999, commands_per_device_max=99, frame_bytes_max=1_000_000)


class Device:
    """What was done to a device, in order, and what it holds."""

    def __init__(self) -> None:
        self.instances: set[str] = set()
        self.values: dict[str, object] = {}
        self.done: list[tuple[str, str, str]] = []

    def carry_out(self, command: Command) -> str:
        """Do it and return the CoAP code."""
        path = command.path or ""
        self.done.append((command.id, command.operation, path))
        exists = path in self.instances
        if command.operation == "create":
            # Of an object, the instances that the values name: all of them or none.
            named = {value.path.rpartition("/")[0] for value in command.values or ()} or {path}
            if not self.instances.isdisjoint(named):
                return "4.00"
            self.instances |= named
        if command.operation == "delete":
            self.instances.discard(path)
            return "2.02" if exists else "4.04"
        if path.count("/") == 2 and command.operation == "write" and not exists:
            return "4.04"
        for value in command.values or ():
            self.values[value.path] = value.value
        return "2.01" if command.operation == "create" else "2.04"


class ScriptedServer:
    """One server; it outlives its bridges. `drop_after` frames of a bridge cuts its connection."""

    def __init__(self, name: str = "north") -> None:
        self.name = name
        self.devices: dict[str, Device] = {}
        self.registrations: dict[str, Registration] = {}
        self.sent: Counter[str] = Counter()
        self.acknowledged = 0
        self.is_cut_before_outcome = False
        self.changed = asyncio.Event()
        self._log: list[bytes] = []
        self._outcomes: dict[str, tuple[str, Outcome]] = {}
        self._user: _Bridge | None = None
        self._server: asyncio.Server | None = None
        self.address = ""

    async def open(self, token: str) -> None:
        self._server = await listen_websocket(
            "127.0.0.1", 0, lambda: _Bridge(self), path=PATH, token=token
        )
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"ws://127.0.0.1:{port}{PATH}"

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def cut(self) -> None:
        """The connection to the bridge breaks."""
        if self._user is not None and self._user.connection is not None:
            self._user.connection.abort()

    @property
    def newest(self) -> int:
        return len(self._log)

    def register(
        self, endpoint: str, *links: str, mode: str = "psk", registered_at_us: int = 1
    ) -> None:
        """A device registers (anew)."""
        device = self.devices.setdefault(endpoint, Device())
        device.instances.update(links)
        number = len(self._log) + 1
        registration = Registration(
            registration_id=f"r{number}",
            endpoint=endpoint,
            lifetime_s=300,
            lwm2m_version="1.1",
            binding="U",
            queue_mode=False,
            object_links=[ObjectLink(path) for path in ("/1/0", "/3/0", *sorted(links))],
            address="127.0.0.1:5683",
            security=Security(mode, endpoint),  # type: ignore[arg-type]  # one of the modes
            registered_at_us=registered_at_us,
        )
        self.registrations[endpoint] = registration
        self._append("registered", endpoint, registration=registration)

    def _append(self, kind: EventKind, endpoint: str, **more: object) -> None:
        registration = self.registrations.get(endpoint)
        event = Event(
            server=self.name,
            epoch="e1",
            seq=len(self._log) + 1,
            kind=kind,
            endpoint=endpoint,
            at_us=1,
            registration_id=registration.registration_id if registration else None,
            **more,  # type: ignore[arg-type]  # fields by name
        )
        self._log.append(encode(event))
        if self._user is not None:
            self._user.send(self._log[-1])
        self.changed.set()

    # ---- called by the connection ----

    def join(self, user: _Bridge) -> None:
        if self._user is not None and self._user.connection is not None:
            self._user.connection.close(1008, "replaced by a newer bridge")
        self._user = user
        hello = Hello(
            server=self.name,
            epoch="e1",
            oldest=self.acknowledged + 1,
            newest=self.newest,
            limits=LIMITS,
        )
        user.send(encode(hello))

    def leave(self, user: _Bridge) -> None:
        if self._user is user:
            self._user = None

    def take(self, user: _Bridge, data: bytes) -> None:
        frame = decode_bridge_frame(data)
        if isinstance(frame, Resume):
            self._resume(user, frame)
        elif isinstance(frame, Ack):
            self.acknowledged = max(self.acknowledged, frame.seq)
        elif isinstance(frame, Command):
            self._command(user, frame)
        self.changed.set()

    def _resume(self, user: _Bridge, frame: Resume) -> None:
        after = frame.after
        if frame.epoch != "e1":
            after = self.acknowledged
            held = list(self.registrations.values())
            user.send(
                encode(Snapshot(epoch="e1", as_of=self.newest, registrations=held, last=True))
            )
        for data in self._log[after:]:
            user.send(data)

    def _command(self, user: _Bridge, command: Command) -> None:
        if command.id in self._outcomes:
            endpoint, outcome = self._outcomes[command.id]
            user.send(encode(Result(server=self.name, endpoint=endpoint, result=outcome)))
            return
        self.sent[command.id] += 1
        code = self.devices[command.endpoint].carry_out(command)
        outcome = Outcome(id=command.id, operation=command.operation, code=code)
        self._outcomes[command.id] = (command.endpoint, outcome)
        if self.is_cut_before_outcome:
            self.is_cut_before_outcome = False
            self.cut()
        self._append("result", command.endpoint, result=outcome)
        if command.operation == "create" and outcome.succeeded:
            self._update_links(command.endpoint)
        if command.completes is not None and outcome.succeeded:
            completed: Completes = command.completes
            self._append("bootstrap", command.endpoint, completed=completed)

    def _update_links(self, endpoint: str) -> None:
        """A device tells its server when its instances have changed."""
        paths = ("/1/0", "/3/0", *sorted(self.devices[endpoint].instances))
        changed = msgspec.structs.replace(
            self.registrations[endpoint], object_links=[ObjectLink(path) for path in paths]
        )
        self.registrations[endpoint] = changed
        self._append("updated", endpoint, registration=changed)


class _Bridge:
    """One connection of a bridge."""

    def __init__(self, server: ScriptedServer) -> None:
        self.connection: WebSocketConnection | None = None
        self._server = server

    def opened(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._server.join(self)

    def received(self, text: bytes) -> None:
        self._server.take(self, text)

    def closed(self, reason: str) -> None:
        self.connection = None
        self._server.leave(self)

    def send(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.send(data)
