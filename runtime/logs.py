"""How a process writes its log: lines for people, or one JSON object a line.

`LAMPLIGHTER_LOG` says both how much and in which form: `DEBUG`, `json`, `json,WARNING`.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final, NamedTuple, TextIO

import msgspec

from runtime.correlation import correlation_id

VARIABLE: Final = "LAMPLIGHTER_LOG"
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_MESSAGE_LENGTH_MAX: Final = 65_536


class LogChoiceError(ValueError):
    """`LAMPLIGHTER_LOG` asks for what there is not; the text says what there is."""


class LogChoice(NamedTuple):
    """What is logged, and how."""

    level: str = "INFO"
    is_json: bool = False


def read_choice(text: str) -> LogChoice:
    """The choice in a comma-separated list; empty: the default. Raises `LogChoiceError`."""
    choice = LogChoice()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.lower() == "json":
            choice = choice._replace(is_json=True)
        elif word.upper() in LEVELS:
            choice = choice._replace(level=word.upper())
        else:
            raise LogChoiceError(
                f"{VARIABLE}={word[:40]!r} is neither json nor one of {', '.join(LEVELS)}"
            )
    return choice


def set_up_logs(component: str, choice: LogChoice, stream: TextIO) -> None:
    """Write this process's log to `stream`; `component` is named in every line."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter(component)
        if choice.is_json
        else logging.Formatter(f"%(asctime)s {component} %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=choice.level, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at`, `component`, `level`, `logger`, `message`, and where there are
    such `correlation_id` and `error` (the traceback).

    Nothing but the message's text is taken from a record: what a caller attaches to it for other
    formatters, which may be anything, is not written.
    """

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "at": _stamp(record.created),
            "component": self._component,
            "level": record.levelname,
            "logger": record.name,
            "message": _shortened(record.getMessage()),
        }
        if found := correlation_id():
            line["correlation_id"] = found
        if record.exc_info:
            line["error"] = _shortened(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _stamp(created_s: float) -> str:
    at = datetime.fromtimestamp(created_s, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shortened(text: str) -> str:
    # A lone surrogate, as a file's name may have it, is no JSON.
    return text[:_MESSAGE_LENGTH_MAX].encode(errors="replace").decode()
