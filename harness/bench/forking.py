"""The starter's end of a fork server: asks it for processes, and is told how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from harness.bench.child import LINE_BYTES_MAX
from harness.bench.fork_messages import PACKET_BYTES_MAX, Forked, Start, decode_answer


def can_fork() -> bool:
    """Whether this system has what a fork server needs: descriptors of processes (Linux 5.3)."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an older kernel, or a sandbox that does not let it through
        return False
    return True


class ForkedChild:
    """A process that a fork server was asked for; it runs when its turn comes.

    What it is told before waits in its standard input. `stdin` and `stdout` are this side's ends
    of its pipes; `lines` reads the latter.
    """

    def __init__(
        self,
        stdin: asyncio.WriteTransport,
        stdout: asyncio.ReadTransport,
        lines: asyncio.StreamReader,
    ) -> None:
        self.stdout = lines
        self.pid: int | None = None
        self.returncode: int | None = None
        self._pipes = (stdin, stdout)
        self._process: int | None = None
        self._running = asyncio.Event()
        self._ended = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Put bytes into its standard input. One that is gone does not hear them."""
        if not self._pipes[0].is_closing():
            self._pipes[0].write(data)

    def send_signal(self, number: int) -> None:
        """Send a signal. One that does not run yet is not started any more."""
        if self.returncode is not None:
            return
        if self._process is None:
            self.ended(-number)
            self._pipes[1].close()  # there is nobody to close it at the other end
            return
        with contextlib.suppress(ProcessLookupError):
            # By its descriptor: its number may be somebody else's as soon as it was reaped.
            signal.pidfd_send_signal(self._process, number)

    async def until_running(self) -> None:
        """Wait until it runs, or has ended without."""
        await self._running.wait()

    async def wait(self) -> int:
        """Wait for its end. Returns its exit code, minus the signal's number for a killed one."""
        await self._ended.wait()
        return self.returncode or 0

    def let_go(self) -> None:
        """Close the pipes to it."""
        for pipe in self._pipes:
            pipe.close()

    def forked(self, pid: int, process: int) -> None:
        """It runs; `process` is a descriptor that stands for it and is closed here."""
        if self.returncode is not None:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)
            return
        self.pid, self._process = pid, process
        self._running.set()

    def ended(self, returncode: int) -> None:
        """It has ended, or is not started any more."""
        if self.returncode is not None:
            return
        self.returncode = returncode
        if self._process is not None:
            os.close(self._process)
            self._process = None
        self._pipes[0].close()
        self._running.set()
        self._ended.set()


class ForkServerLink:
    """A socket to one fork server, which gets `theirs` when it is started.

    Use it within one event loop. Whoever starts the server closes `theirs` then, and calls `close`
    when the server has ended.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._children: dict[int, ForkedChild] = {}
        self._requests = 0
        self._is_listening = False
        self._has_ended = False

    async def start(self, module: str, arguments: Sequence[str], log: BinaryIO) -> ForkedChild:
        """Ask for `python -m module arguments…`, logging to `log`; it runs when its turn comes."""
        if not self._is_listening and not self._has_ended:
            self._is_listening = True
            asyncio.get_running_loop().add_reader(self._ours.fileno(), self._take)
        self._requests += 1
        child_in, our_out = os.pipe()
        our_in, child_out = os.pipe()
        child = self._children[self._requests] = await _child_at(our_out, our_in)
        request = msgspec.json.encode(Start(self._requests, module, list(arguments)))
        try:
            socket.send_fds(self._ours, [request], [child_in, child_out, log.fileno()])
        except OSError:  # the server is gone: so is everything that it would have started
            self._children.pop(self._requests).ended(-signal.SIGKILL)
        finally:
            os.close(child_in)
            os.close(child_out)
        return child

    def close(self) -> None:
        """Hear no more of the server. The kernel kills what it forked when it ends."""
        self._has_ended = True
        self._stop_listening()
        self._ours.close()
        self.theirs.close()
        for child in self._children.values():
            child.ended(-signal.SIGKILL)  # nobody is left to tell
        self._children.clear()

    def _take(self) -> None:
        """Take one packet of the server's. Its end is for its own starter to tell."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._ours, PACKET_BYTES_MAX, 1)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if not packet:
            self._has_ended = True
            self._stop_listening()
            return
        answer = decode_answer(packet)
        if isinstance(answer, Forked):
            self._children[answer.id].forked(answer.pid, descriptors[0])
        else:
            self._children.pop(answer.id).ended(answer.returncode)

    def _stop_listening(self) -> None:
        if self._is_listening:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            self._is_listening = False


class _LinesProtocol(asyncio.StreamReaderProtocol):
    """Closes its transport at the end of what is read, as a child's output has nothing after it."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


async def _child_at(our_out: int, our_in: int) -> ForkedChild:
    """A child at the other ends of these two pipes."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    stdout, _ = await loop.connect_read_pipe(
        lambda: _LinesProtocol(lines), os.fdopen(our_in, "rb", 0)
    )
    stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(our_out, "wb", 0))
    return ForkedChild(stdin, stdout, lines)
