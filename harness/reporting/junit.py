"""`junit.xml`: one test case a check. Broken is a failure, inconclusive an error, never a skip."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from contracts.report import CheckResult, Evidence, Report

# Characters that XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {"broken": "failure", "inconclusive": "error"}


def junit_xml(report: Report) -> bytes:
    """The checks of a run as JUnit."""
    outcomes = [check.outcome for check in report.checks]
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count("broken")),
        "errors": str(outcomes.count("inconclusive")),
        "skipped": "0",
    }
    duration = f"{report.duration_s:.3f}"
    root = ElementTree.Element("testsuites", {"name": "lamplighter", "time": duration} | counts)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _legal(report.scenario),
            "time": duration,
            "timestamp": _legal(report.started_at),
        }
        | counts,
    )
    _add_properties(suite, report)
    for check in report.checks:
        _add_case(suite, report.scenario, check)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _add_properties(suite: ElementTree.Element, report: Report) -> None:
    properties = ElementTree.SubElement(suite, "properties")
    facts = {
        "run_id": report.run_id,
        "verdict": report.verdict,
        "exit_code": str(report.exit_code),
        "seed": str(report.seed),
        "broker": report.broker,
        "defect": report.defect,
    }
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=_legal(value))


def _add_case(suite: ElementTree.Element, scenario: str, check: CheckResult) -> None:
    # Checks judge the run as a whole: its duration is the suite's, a case has none of its own.
    case = ElementTree.SubElement(
        suite, "testcase", classname=_legal(scenario), name=_legal(check.name)
    )
    text = "\n".join([f"claim: {check.claim}", *map(_line, check.evidence), _rest(check)]).strip()
    tag = _TAGS.get(check.outcome)
    if tag is None:
        ElementTree.SubElement(case, "system-out").text = _legal(check.summary)
        return
    element = ElementTree.SubElement(case, tag, type=check.outcome, message=_legal(check.summary))
    element.text = _legal(text)


def _line(evidence: Evidence) -> str:
    at = "" if evidence.at_s is None else f"t+{evidence.at_s:.3f} s  "
    expected = f" (expected: {evidence.expected})" if evidence.expected else ""
    return f"{at}{evidence.endpoint}: {evidence.observed}{expected}"


def _rest(check: CheckResult) -> str:
    hidden = check.evidence_total - len(check.evidence)
    return f"… and {hidden:,} more" if hidden > 0 else ""


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
