"""Rules as data: which messages, under which conditions, go to which target."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import ContractError
from contracts.topics import Topics, fill, is_topic_filter


class RuleError(ValueError):
    """A rule is wrong; the text names it and says what is expected."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one field of a JSON payload must be. `field` has dots between levels: `result.id`.

    Exactly one of `equals`, `one_of` and `exists` is given.
    """

    field: str
    equals: str | int | float | bool | None = None
    one_of: list[str | int | float | bool] | None = None
    exists: bool | None = None

    def holds_for(self, document: Any) -> bool:
        """Whether a decoded payload meets this."""
        found, value = True, document
        for name in self.field.split("."):
            if not isinstance(value, dict) or name not in value:
                found, value = False, None
                break
            value = value[name]
        if self.exists is not None:
            return found is self.exists
        if self.one_of is not None:
            return found and any(_same(value, one) for one in self.one_of)
        return found and _same(value, self.equals)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages of `topic` that meet all of `where` go to `target`.

    `topic` is the name of one of `contracts.topics.Topics`, with `levels` for some of its names
    (the others match anything), or an MQTT topic filter.
    """

    name: str
    topic: str
    target: str
    levels: dict[str, str] = {}
    where: list[Condition] = []

    def topic_filter(self, topics: Topics) -> str:
        """The MQTT topic filter in an installation with these topics. Raises `RuleError`."""
        template = getattr(topics, self.topic, None) if self.topic.isidentifier() else None
        found = fill(template, **self.levels) if isinstance(template, str) else self.topic
        if not is_topic_filter(found):
            raise RuleError(f"rule {self.name!r}: {found!r} is not a topic filter")
        return found


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a rules file."""

    rules: list[Rule]


class CompiledRule:
    """A rule of one installation: decides about messages."""

    def __init__(self, rule: Rule, topics: Topics) -> None:
        self.name = rule.name
        self.target = rule.target
        self.filter = rule.topic_filter(topics)
        self._covered = filter_pattern(self.filter)
        # What every topic that is covered ends in; None when it may end in anything.
        last_level = self.filter.rpartition("/")[2]
        self.last_level = None if last_level in ("+", "#") else last_level
        # The name of the counter of messages that it took.
        self.counter = f"matched.{rule.name}"
        # Whether the payload must be decoded to decide.
        self.reads_payload = bool(rule.where)
        self._where = tuple(rule.where)
        for condition in rule.where:
            _check(rule, condition)

    def covers(self, topic: str) -> bool:
        """Whether the topic is one of the rule's."""
        return self._covered.fullmatch(topic) is not None

    def accepts(self, document: Any) -> bool:
        """Whether a decoded payload meets every condition."""
        for condition in self._where:  # noqa: SIM110  a generator costs as much as a condition
            if not condition.holds_for(document):
                return False
        return True


def filter_pattern(topic_filter: str) -> re.Pattern[str]:
    """What matches wholly the topics that `contracts.topics.filter_matches` says are covered."""
    # Wildcards do not cover topics that begin with `$` (MQTT 3.1.1 §4.7.2).
    begin = r"(?!\$)" if topic_filter[:1] in ("+", "#") else ""
    levels = topic_filter.split("/")
    end = ""
    if levels[-1] == "#":
        levels.pop()
        # It covers its parent level too.
        end = "(?:/.*)?" if levels else ".*"
    middle = "/".join("[^/]*" if level == "+" else re.escape(level) for level in levels)
    return re.compile(begin + middle + end, re.DOTALL)


def load_rules(path: Path) -> list[Rule]:
    """The rules in a TOML file (`[[rules]]`). Raises `RuleError` saying what is wrong."""
    try:
        return read_rules(path.read_bytes(), str(path))
    except OSError as error:
        raise RuleError(f"cannot read the rules {path}: {error.strerror}") from error


def default_rules(package: str) -> list[Rule]:
    """The rules that come with a component: `rules.toml` in its package."""
    place = files(package).joinpath("rules.toml")
    return read_rules(place.read_bytes(), f"{package}/rules.toml")


def read_rules(data: bytes, source: str) -> list[Rule]:
    """The rules in TOML text. `source` is named in a `RuleError`."""
    try:
        return msgspec.toml.decode(data, type=RuleSet).rules
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RuleError(f"the rules {source} are wrong: {error}") from error


def compile_rules(rules: list[Rule], topics: Topics) -> list[CompiledRule]:
    """Rules ready to decide. Raises `RuleError` for a wrong one or a name used twice."""
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RuleError(f"there are two rules named {twice[0]!r}")
    return [CompiledRule(rule, topics) for rule in rules]


def decode_payload(payload: bytes) -> Any:
    """A JSON payload as plain values. Raises `ContractError`."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"the payload is not JSON: {error}") from None


def _check(rule: Rule, condition: Condition) -> None:
    given = [condition.equals, condition.one_of, condition.exists]
    if sum(one is not None for one in given) != 1:
        raise RuleError(
            f"rule {rule.name!r}: the condition on {condition.field!r} "
            "needs exactly one of equals, one_of, exists"
        )


def _same(found: Any, wanted: object) -> bool:
    # In Python True == 1; in a rule it is not.
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
