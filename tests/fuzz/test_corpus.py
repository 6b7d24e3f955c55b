"""Whatever fuzzing ever reached is tried again: decoders refuse with our own errors only."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus_files import inputs_of, target_names
from tests.fuzz.targets import TARGETS


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert target_names() == sorted(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_breaks_the_target(name: str) -> None:
    target = TARGETS[name]
    for data in (b"", *target.seeds, *inputs_of(name)):
        target.run(data)


def test_every_target_has_something_to_start_from() -> None:
    assert all(target.seeds for target in TARGETS.values())
