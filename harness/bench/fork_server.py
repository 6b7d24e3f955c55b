"""The fork server of a bench: imports once what several processes need, and forks each of them.

`python -m harness.bench.fork_server --config -`. It is told over a socket, whose descriptor its
configuration names, which module to run (`harness.bench.forking` is the other end). It imports
that module, and what the module's `modules_for` names, forks, and the child runs the module as
`python -m` would. It has one thread and no event loop; where an import has left it another thread
or an open descriptor, it forks nothing and says so. What it forked dies with it, and it with its
starter.
"""

from __future__ import annotations

import contextlib
import gc
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from harness.bench.command_line import show_command_line
from harness.bench.fork_messages import (
    PACKET_BYTES_MAX,
    STREAMS,
    Ended,
    Forked,
    Start,
    encode_answer,
)
from harness.bench.parent import die_with_parent
from runtime.component import ConfigError, read_config, say_ready

# What a process exits with that could not be started; and one whose configuration is unusable.
_NOT_STARTED: Final = 1
_UNUSABLE: Final = 3
# What Python imports of itself with the first host name, packed file and TOML file.
_OF_PYTHON: Final = ("encodings.idna", "importlib.readers", "tomllib", "unicodedata")


class ForkServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`control`: the inherited descriptor of the socket on which it is told what to start."""

    control: int


class UnsafeToFork(RuntimeError):
    """A child would begin in an unknown state; the text says why, and what to do."""


class ForkServer:
    """Starts what it is told to and tells how each ended, also while it imports.

    `control` is the starter's socket. The signal of a child's end (SIGCHLD) is its own.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        # The requests by process id, of what runs.
        self._running: dict[int, int] = {}
        # What is open at rest; whatever else there is before a fork, an import has opened.
        self._own = frozenset(_open_descriptors())
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self) -> Start | None:
        """Start what is asked for until the starter is gone (None).

        It returns in every child too: with what the child is to run.
        """
        while True:
            packet, streams, _, _ = socket.recv_fds(self._control, PACKET_BYTES_MAX, STREAMS)
            if not packet:
                return None
            start = msgspec.json.decode(packet, type=Start)
            if self._start(start, streams):
                return start

    def _start(self, start: Start, streams: Sequence[int]) -> bool:
        """Fork. True in the child."""
        between_fork_and_run = die_with_parent()
        try:
            load(start)
            self._check_safe(streams)
            # What was imported stays: no collection touches it, here or in a child, so that its
            # pages stay shared.
            gc.freeze()
            # An end is told after the beginning, and a child knows nothing of other ends.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            pid = os.fork()
        except (Exception, SystemExit) as error:
            self._refuse(start, streams, error)
            return False
        if not pid:
            between_fork_and_run()
            self._leave(streams)
            return True
        _close(streams)
        process = os.pidfd_open(pid)
        self._tell(Forked(start.id, pid), process)
        os.close(process)
        self._running[pid] = start.id
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        return False

    def _refuse(self, start: Start, streams: Sequence[int], error: BaseException) -> None:
        """Say why, in the log of what was to be started: there its starter looks for it."""
        known = isinstance(error, UnsafeToFork)
        text = f"{error}\n" if known else "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            os.write(streams[2], text.encode(errors="replace"))
        _close(streams)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        self._tell(Ended(start.id, _NOT_STARTED))

    def _check_safe(self, streams: Sequence[int]) -> None:
        """Raises `UnsafeToFork` when an import has started a thread or left something open."""
        if len(os.listdir("/proc/self/task")) > 1:
            names = ", ".join(each.name for each in threading.enumerate()[1:]) or "not Python's own"
            raise UnsafeToFork(
                f"the fork server has threads ({names}) since an import: nothing can be forked. "
                "Import that module later, in `run`, or start with LAMPLIGHTER_START=exec"
            )
        known = self._own | set(streams)
        opened = [each for each in _open_descriptors() if each not in known]
        if opened:
            files = ", ".join(_target_of(each) for each in opened)
            raise UnsafeToFork(
                f"an import has left {files} open in the fork server: children would share it. "
                "Open it later, in `run`, or start with LAMPLIGHTER_START=exec"
            )

    def _leave(self, streams: Sequence[int]) -> None:
        """In a child: a session and streams of its own, and nothing of the server's."""
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        # Closed as an object first: it would close a number that is another's by then.
        self._control.close()
        _close([each for each in _open_descriptors() if each >= STREAMS])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _reap(self, number: int, frame: FrameType | None) -> None:
        """A handler, which may run between any two steps, its own among them: one signal can stand
        for several ends, and what is here at the beginning may have been told by then."""
        for pid in list(self._running):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if ended:
                self._tell(Ended(self._running.pop(pid), os.waitstatus_to_exitcode(status)))

    def _tell(self, answer: Forked | Ended, *descriptors: int) -> None:
        # A starter that is gone is noticed when it is next listened to.
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [encode_answer(answer)], descriptors)


def load(start: Start) -> None:
    """Import what the process will: its main module, and what that names in `modules_for`.

    `modules_for(arguments)`, where a main module has it, gives the names of modules that the
    command with these arguments imports no sooner than it runs.
    """
    main = import_module(main_module(start.module))
    modules_for = getattr(main, "modules_for", None)
    later = modules_for(start.arguments) if modules_for else ()
    for name in (*_OF_PYTHON, *later):
        import_module(name)


def main_module(module: str) -> str:
    """The module that `python -m module` runs. Raises `ModuleNotFoundError` without one."""
    found = find_spec(module)
    if found is None:
        raise ModuleNotFoundError(f"No module named {module}", name=module)
    return module if found.submodule_search_locations is None else f"{module}.__main__"


def run(start: Start) -> None:
    """In a child: run the module as `python -m` would, which may raise `SystemExit`."""
    gc.enable()
    show_command_line([sys.executable, "-m", start.module, *start.arguments])
    sys.argv = [sys.executable, *start.arguments]
    # It was imported under its name; as `__main__` it is run anew.
    sys.modules.pop(main_module(start.module), None)
    runpy.run_module(start.module, run_name="__main__", alter_sys=True)


def _open_descriptors() -> list[int]:
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    # That of the listing itself is closed by now.
    return [number for number in numbers if Path(f"/proc/self/fd/{number}").is_symlink()]


def _target_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return f"descriptor {descriptor}"


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)


def _serve(config: ForkServerConfig) -> Start | None:
    gc.disable()  # nothing that is imported is garbage; children collect for themselves
    # A starter may have been given descriptors that are to be inherited, and hand them on.
    _close([each for each in _open_descriptors() if each not in (0, 1, 2, config.control)])
    server = ForkServer(socket.socket(fileno=config.control))
    say_ready({})
    return server.serve()


def main() -> int:
    """Serve until the starter is gone; in a child: be what was asked for."""
    if sys.argv[1:] != ["--config", "-"]:
        sys.stderr.write("usage: python -m harness.bench.fork_server --config -\n")
        return _UNUSABLE
    try:
        config = read_config(Path("-"), ForkServerConfig)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE
    start = _serve(config)
    if start is None:
        # Children are killed by the kernel at once; there is nothing to tidy up.
        os._exit(0)
    run(start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
