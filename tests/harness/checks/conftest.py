"""A run that holds, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from contracts.journal import Record
from harness.journal.example import Plan, example_run

Match = Callable[[Any], bool]


class Spoiled:
    """A list of records, spoiled step by step."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def find(self, kind: type[Record], **fields: object) -> Any:
        """The first record of this kind with these fields."""
        return next(r for r in self.records if _has(r, kind, fields))

    def drop(self, kind: type[Record], **fields: object) -> Spoiled:
        """Without the records of this kind with these fields."""
        kept = [r for r in self.records if not _has(r, kind, fields)]
        assert len(kept) < len(self.records)
        return Spoiled(kept)

    def drop_one(self, record: Record) -> Spoiled:
        """Without exactly this record."""
        return Spoiled([r for r in self.records if r is not record])

    def swap(self, record: Record, **fields: object) -> Spoiled:
        """With `fields` of this record changed."""
        changed = msgspec.structs.replace(record, **fields)
        return Spoiled([changed if r is record else r for r in self.records])

    def add(self, *records: Record) -> Spoiled:
        """With more records."""
        return Spoiled([*self.records, *records])


def _has(record: Record, kind: type[Record], fields: dict[str, object]) -> bool:
    return type(record) is kind and all(
        getattr(record, name) == value for name, value in fields.items()
    )


@pytest.fixture(scope="session")
def good() -> Spoiled:
    """Forty devices, all of whose checks hold."""
    return Spoiled(example_run(Plan(devices=40)))
