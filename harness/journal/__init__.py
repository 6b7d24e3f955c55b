"""Reads the journal of a run: every process's records, merged by time and found by kind."""

from __future__ import annotations

from harness.journal.journal import Journal
from harness.journal.reader import MalformedJournal, read_lines, read_run

__all__ = ["Journal", "MalformedJournal", "read_lines", "read_run"]
