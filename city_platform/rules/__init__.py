"""Rules as data, and the runner that carries them out on MQTT."""

from city_platform.rules.rule import (
    Condition,
    Rule,
    RuleError,
    default_rules,
    load_rules,
    read_rules,
)
from city_platform.rules.runner import CallbackTarget, DeadLetter, RuleRunner, RunnerLimits, Target

__all__ = [
    "CallbackTarget",
    "Condition",
    "DeadLetter",
    "Rule",
    "RuleError",
    "RuleRunner",
    "RunnerLimits",
    "Target",
    "default_rules",
    "load_rules",
    "read_rules",
]
