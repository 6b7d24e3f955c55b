"""How a component runs in a process of its own: event loop, signals, logs, and the ready line.

A component is `async def run(config, clock, ready)`. It calls `ready(addresses)` once when it can
serve; the process then prints one JSON line on standard output: `{"ready": {"http": "host:port"}}`.
Standard output carries nothing else; logs go to standard error. SIGTERM cancels the coroutine.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from runtime.clock import Clock, SystemClock
from runtime.logs import VARIABLE as LOG_VARIABLE
from runtime.logs import LogChoiceError, read_choice, set_up_logs
from runtime.loop_delay import measuring
from runtime.tuning import tune_process

Ready = Callable[[Mapping[str, str]], None]
Component = Callable[[Any, Clock, Ready], Awaitable[None]]
ConfigType = TypeVar("ConfigType", bound=msgspec.Struct)


class ConfigError(ValueError):
    """A configuration file is missing or wrong; the text says where and what is expected."""


def read_config(path: Path, kind: type[ConfigType]) -> ConfigType:
    """Read a component's configuration (JSON or, by file name, TOML). Raises `ConfigError`.

    The path `-` reads one JSON line from standard input: a starter can let a process import while
    the addresses that belong into its configuration are still being found.
    """
    try:
        data = _read_line(0) if str(path) == "-" else path.read_bytes()
        decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
        return decode(data, type=kind)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"the configuration {path} is wrong: {error}") from error


def _read_line(descriptor: int) -> bytes:
    # Byte by byte: what follows the line belongs to whoever reads the descriptor next.
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def run_process(component: Component, config: msgspec.Struct, *, name: str) -> int:
    """Run one component until it ends or SIGTERM or SIGINT asks it to. Returns the exit code."""
    try:
        choice = read_choice(os.environ.get(LOG_VARIABLE, ""))
    except LogChoiceError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    set_up_logs(name, choice, sys.stderr)
    tune_process()
    try:
        uvloop.run(_until_signalled(component, config))
    except Exception as error:
        log = logging.getLogger(name)
        log.exception("the component failed")
        # The last line of a log is what a starter shows: let it be the reason.
        log.error("%s", reason_of(error))
        return 1
    return 0


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong, and what to do where that is known."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    advice = ": choose another port, or 0 for a free one" if _is_port_taken(error) else ""
    text = str(error) or type(error).__name__
    return " ".join(text.split()) + ("" if advice in text or "another port" in text else advice)


def _is_port_taken(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


async def _until_signalled(component: Component, config: msgspec.Struct) -> None:
    clock = SystemClock()
    with measuring(clock.now_ns):
        task = asyncio.ensure_future(component(config, clock, say_ready))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            logging.getLogger(__name__).info("stopped by a signal")


def say_ready(addresses: Mapping[str, str]) -> None:
    """Print the ready line."""
    say({"ready": dict(addresses)})


def say(message: Mapping[str, object]) -> None:
    """Print one line for the process's starter. Nothing is raised when it no longer listens."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
