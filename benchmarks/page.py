"""Makes the tables of docs/performance.md from the benchmarks' JSON lines.

    python -m benchmarks.page            from the lines that are kept (docs/data/benchmarks.jsonl)
    python -m benchmarks.page FILE...    from these, which are kept from now on
    python -m benchmarks.page --check    only say whether the page is what the kept lines make

A file has one JSON object a line, as `benchmarks.all` writes them, or is a run's `report.json`. The
page's other text is written by hand and stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.capabilities import CAPABILITIES, Capability, Figure, Line, is_met, value_at
from contracts.errors import ContractError
from contracts.report import Percentiles, Report, decode_report

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
KEPT: Final = ROOT / "docs" / "data" / "benchmarks.jsonl"
LINE_BYTES_MAX: Final = 1 << 20
_BLOCK: Final = re.compile(r"(<!-- made: tables -->\n).*?(<!-- end -->)", re.DOTALL)
_NOT_VERSIONS: Final = frozenset(
    {"load_before", "load_after", "state_on", "cores_used", "cores_taken_by_others", "machine",
     "cores", "memory", "system", "load"}
)  # fmt: skip


class UnusableLines(ValueError):
    """A file of lines cannot be used; the text says which line, what is wrong, and what to do."""


def read_lines(data: bytes, source: str) -> list[dict[str, Any]]:
    """The lines of a file, or the one that a `report.json` makes. Raises `UnusableLines`."""
    if source.endswith("report.json"):
        return [_report_line(data, source)]
    found = []
    for number, text in enumerate(data.splitlines(), 1):
        if not text.strip():
            continue
        if len(text) > LINE_BYTES_MAX:
            raise UnusableLines(f"{source}, line {number}: over {LINE_BYTES_MAX} bytes")
        try:
            line = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnusableLines(
                f"{source}, line {number}: {error}; write it with python -m benchmarks.all"
            ) from None
        if not isinstance(line.get("benchmark"), str):
            raise UnusableLines(
                f"{source}, line {number}: benchmark: a name is needed, such as coap_core"
            )
        found.append(line)
    if not found:
        raise UnusableLines(f"{source}: there is no line in it")
    return found


def scenario_line(report: Report) -> dict[str, Any]:
    """A run's report as a line. Latencies and rates of a saturated run are void, and left out."""
    is_void = report.loader.saturated
    stage, update = report.stages.get("registered"), report.operations.get("update")
    registered = report.throughput.get("registered")
    held = {side.side: side.rss_bytes_max for side in report.sides}
    devices = f"--devices {report.devices.total}" if report.devices.total else ""
    return {
        "benchmark": "scenario",
        "scenario": report.scenario,
        "command": f"lamplighter run {report.scenario} {devices}".strip(),
        "devices": report.devices.total,
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "saturated": report.loader.faults,
        "registered_per_s": registered.sustained_per_s if registered and not is_void else None,
        "registered_p99_ms": None if is_void else _p99_ms(stage and stage.since_start),
        "update_p99_ms": None if is_void else _p99_ms(update and update.latency),
        "fleet_and_emulated_bytes": held.get("fleet", 0) + held.get("emulated", 0),
        "cpu_s": ", ".join(f"{side.side} {side.cpu_s:.1f}" for side in report.sides),
        "conditions": {**report.machine, **report.versions},
    }


def _p99_ms(latency: Percentiles | None) -> float | None:
    return None if latency is None else latency.p99


def render_tables(lines: Sequence[Line]) -> str:
    """The tables, one for each capability that there are lines of."""
    known = {capability.benchmark for capability in CAPABILITIES}
    unknown = sorted({line["benchmark"] for line in lines} - known)
    if unknown:
        raise UnusableLines(
            f"no table for {', '.join(unknown)}: add it to benchmarks/capabilities.py"
        )
    parts = [_summary(lines)]
    for capability in CAPABILITIES:
        of_it = [line for line in lines if line["benchmark"] == capability.benchmark]
        if of_it:
            parts.append("\n".join(_table(capability, of_it)))
    return "\n\n".join(parts) + "\n"


def render_page(page: str, lines: Sequence[Line]) -> str:
    """The page with its tables made anew. Raises `UnusableLines` when it has no place for them."""
    if _BLOCK.search(page) is None:
        raise UnusableLines(f"{PAGE.name} has no block <!-- made: tables --> … <!-- end -->")
    tables = render_tables(lines)
    return _BLOCK.sub(lambda found: f"{found[1]}{tables}{found[2]}", page)


def _report_line(data: bytes, source: str) -> dict[str, Any]:
    try:
        return scenario_line(decode_report(data))
    except ContractError as error:
        raise UnusableLines(f"{source}: {error}") from None


def _summary(lines: Sequence[Line]) -> str:
    bars = [
        met
        for capability in CAPABILITIES
        for line in lines
        if line["benchmark"] == capability.benchmark
        for figure in _figures(capability, line)
        if (met := is_met(figure, value_at(line, figure.path))) is not None
    ]
    failed = [line for line in lines if "failed" in line]
    told = f"{sum(bars)} of {len(bars)} bars were met on the machine that made these lines."
    return told + (f" {len(failed)} commands failed." if failed else "")


def _table(capability: Capability, lines: Sequence[Line]) -> Iterator[str]:
    yield f"### {capability.title}"
    yield ""
    yield "| setting | figure | measured | ratio | bar | met |"
    yield "|---|---|---|---|---|---|"
    for line in lines:
        yield from _rows(capability, line)
    yield ""
    yield from dict.fromkeys(_conditions(line) for line in lines)


def _figures(capability: Capability, line: Line) -> list[Figure]:
    return [each for each in capability.figures if each.only is None or each.only(line)]


def _rows(capability: Capability, line: Line) -> Iterator[str]:
    setting = ", ".join(
        f"{name.replace('_', ' ')} {_number(line[name])}"
        for name in capability.setting
        if name in line
    )
    for reason in ("failed", "skipped"):
        if reason in line:
            yield _row(setting, reason, str(line[reason]), "", "", "")
            return
    figures = _figures(capability, line)
    for figure in figures:
        value = value_at(line, figure.path)
        if value is not None:
            yield _row(
                setting, figure.what, _measured(value, figure.unit), _ratio(figure, line),
                _bar(figure), _met(figure, value),
            )  # fmt: skip
    if not figures:
        for name, value in _flat(line):
            yield _row(setting, name, _number(value), "", "", "")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _measured(value: Any, unit: str) -> str:
    return f"{_number(value)} {unit}".strip()


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _ratio(figure: Figure, line: Line) -> str:
    ratio = value_at(line, figure.ratio) if figure.ratio else None
    return "" if ratio is None else f"{_number(ratio)} {figure.than}"


def _bar(figure: Figure) -> str:
    if figure.least is not None:
        return f"{_number(figure.least)} or more"
    return "" if figure.most is None else f"{_number(figure.most)} or less"


def _met(figure: Figure, value: Any) -> str:
    met = is_met(figure, value)
    return "" if met is None else "yes" if met else "**no**"


def _flat(line: Line, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a line without chosen figures has, by path."""
    for name, value in line.items():
        if isinstance(value, dict) and name != "conditions":
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}".replace("_", " "), value


def _conditions(line: Line) -> str:
    found = line.get("conditions", line.get("machine", {}))
    found = found if isinstance(found, dict) else {}
    machine = [f"{name.replace('_', ' ')} {found[name]}" for name in found if name in _NOT_VERSIONS]
    versions = [f"{name} {found[name]}" for name in found if name not in _NOT_VERSIONS]
    command = line.get("command", f"python -m benchmarks.{line['benchmark']}")
    ended = f" ({line['ended']})" if "ended" in line else ""
    parts = [f"`{command}`{ended}", "; ".join(machine), "; ".join(versions)]
    return "- " + ". ".join(part for part in parts if part)


def _read_all(files: Iterable[Path]) -> list[dict[str, Any]]:
    lines = []
    for file in files:
        try:
            lines += read_lines(file.read_bytes(), str(file))
        except OSError as error:
            raise UnusableLines(f"cannot read {file}: {error.strerror}") from None
    return lines


def make(files: Sequence[Path], *, only_check: bool) -> str:
    """Do what the command line asks; returns what to say. Raises `UnusableLines`."""
    lines = _read_all(files or [KEPT])
    page = PAGE.read_text()
    made = render_page(page, lines)
    if only_check:
        if made != page:
            raise UnusableLines(f"{PAGE.name} is stale: python -m benchmarks.page")
        return f"{PAGE.name} is what its {len(lines)} lines make"
    if files:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    PAGE.write_text(made)
    return f"{PAGE.relative_to(ROOT)}: {len(lines)} lines"


def main() -> int:
    """The command line. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    told = parser.parse_args()
    try:
        sys.stdout.write(make(told.files, only_check=told.check) + "\n")
    except UnusableLines as error:
        sys.stderr.write(f"benchmarks.page: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
