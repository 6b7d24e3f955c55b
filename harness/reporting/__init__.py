"""From the journal to what people and programs read: JSON, one HTML page, JUnit, a summary."""

from __future__ import annotations

from harness.reporting.build import report
from harness.reporting.junit import junit_xml
from harness.reporting.page import render_page
from harness.reporting.summary import print_summary
from harness.reporting.write import remake_report, write_report

__all__ = [
    "junit_xml",
    "print_summary",
    "remake_report",
    "render_page",
    "report",
    "write_report",
]
