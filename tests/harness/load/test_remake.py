"""The report of a load is made again from its folder, with the verdict that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.journal import Note, Record, RunStarted, SecretsScanned
from contracts.report import decode_report
from harness.errors import HarnessError
from harness.journal import read_run
from harness.journal.example import Plan, example_run
from harness.load.checks import totals_notes
from harness.load.config import Entry, Figures, Totals
from harness.load.remake import options_of, remake_load_report
from harness.reporting.__main__ import main

OPTIONS = {
    "figures_from": "journals",
    "users": "6",
    "spawn_rate_per_s": "2.5",
    "workers": "2",
    "server": "bench",
    "security": "psk",
}
TOTALS = Totals(
    entries=[Entry(kind="registered", name="street_lamp", count=6, latencies={"2": 6})],
    figures=[Figures(worker="worker-1", devices=6)],
    began_at_unix_s=1_000.0,
    ended_at_unix_s=1_060.0,
)


def write(folder: Path, records: list[Record]) -> Path:
    (folder / "journal").mkdir()
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    (folder / "journal" / "runner.jsonl").write_bytes(lines)
    return folder


def loaded(**options: str) -> list[Record]:
    """The records of a run whose beginning says that Locust loaded it."""
    return [
        msgspec.structs.replace(record, scenario="load", options={**OPTIONS, **options})
        if isinstance(record, RunStarted)
        else record
        for record in example_run(Plan(devices=6))
    ]


def test_a_load_with_journals_is_judged_by_its_own_checks(tmp_path: Path) -> None:
    folder = write(tmp_path, [*loaded(), *totals_notes(TOTALS, 1)])
    report = remake_load_report(folder, read_run(folder))
    names = [check.name for check in report.checks]
    assert names[:4] == [
        "operations_succeed", "every_worker_counted",
        "locust_counts_what_the_journal_says", "loader_kept_up",
    ]  # fmt: skip
    assert "nothing_left_behind" in names
    assert report.scenario == "load"
    assert decode_report((folder / "report.json").read_bytes()) == report
    assert (folder / "report.html").exists()


def test_a_load_by_url_has_no_bench_to_be_judged(tmp_path: Path) -> None:
    folder = write(tmp_path, loaded(server="coap://127.0.0.1:5683"))
    names = [check.name for check in remake_load_report(folder, read_run(folder)).checks]
    assert "nothing_left_behind" not in names
    assert "no_secret_in_outputs" in names


def test_of_workers_elsewhere_locusts_statistics_are_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path, loaded(figures_from="locust"))
    (folder / "locust.json").write_bytes(msgspec.json.encode(TOTALS))
    report = remake_load_report(folder, read_run(folder))
    assert report.options["figures_from"] == "locust"
    assert report.stages["registered"].count == 6
    assert report.duration_s == 60.0
    assert report.run_id == folder.name


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot read Locust's statistics"), (b"{}", "is not what Locust")]
)
def test_statistics_that_are_gone_or_spoiled_are_told(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    folder = write(tmp_path, loaded(figures_from="locust"))
    if content is not None:
        (folder / "locust.json").write_bytes(content)
    with pytest.raises(HarnessError, match=told):
        remake_load_report(folder, read_run(folder))


@pytest.mark.parametrize("options", [{}, {**OPTIONS, "users": "many"}])
def test_a_beginning_that_does_not_say_how_it_was_loaded_is_told(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    [began] = [each for each in loaded() if isinstance(each, RunStarted)]
    run = msgspec.structs.replace(began, options=options)
    with pytest.raises(HarnessError, match="does not say how it was loaded"):
        options_of(run, tmp_path)


def test_the_command_remakes_a_load_and_refuses_one_that_did_not_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path, [*loaded(), *totals_notes(TOTALS, 1)])
    assert main([str(folder)]) in (0, 1)
    assert (folder / "report.json").exists()
    records = [each for each in loaded() if not isinstance(each, SecretsScanned)]
    other = tmp_path / "other"
    other.mkdir()
    write(other, [*records, Note(at_ns=1, name="x")])
    assert main([str(other)]) == 3
    assert "did not end" in capsys.readouterr().err
