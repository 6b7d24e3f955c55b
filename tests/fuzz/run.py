"""Fuzzes the decoders: `python -m tests.fuzz.run TARGET --seconds N`, or `--all` in place of one.

Each target runs in a process of its own, by atheris (the `fuzz` extra), from its corpus in
`tests/fuzz/corpus/`. One JSON line a target tells edges, runs and the size of the corpus. What
reached edges that the corpus does not is added to it, as few inputs as reach the same; an input
that broke the target is added as well, so that the tests fail until it is handled, and the exit
status is 1. `--leave` adds nothing but that.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import atheris

from tests.fuzz.corpus_files import CORPUS, folder_of, name_of

with atheris.instrument_imports(include=["lwm2m", "fake_devices"]):
    from tests.fuzz.targets import TARGETS

_STATUS = re.compile(rb"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_INPUT_BYTES_MAX = 512
_INPUT_SECONDS_MAX = 5


def main(arguments: Sequence[str]) -> int:
    """Fuzz, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--all", action="store_true", help="one target after the other")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--leave", action="store_true", help="leave the corpus as it is")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    chosen = parser.parse_args(arguments)
    if chosen.all == (chosen.target is not None):
        parser.error("name a target, or --all")
    names = sorted(TARGETS) if chosen.all else [chosen.target]
    reports = [fuzz(name, chosen.seconds, chosen.seed, adds=not chosen.leave) for name in names]
    return 1 if any(report["broken_by"] for report in reports) else 0


def fuzz(name: str, seconds: int, seed: int, *, adds: bool) -> dict[str, object]:
    """Fuzz one target for `seconds` and print what came of it."""
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found, broken, seeds = (Path(scratch, part) for part in ("found", "broken", "seeds"))
        for part in (found, broken, seeds):
            part.mkdir()
        for seed_input in TARGETS[name].seeds:
            (seeds / name_of(seed_input)).write_bytes(seed_input)
        options = [
            *(str(found), str(folder), str(seeds)),
            f"-max_total_time={seconds}",
            f"-max_len={_INPUT_BYTES_MAX}",
            f"-timeout={_INPUT_SECONDS_MAX}",
            f"-seed={seed}",
            f"-artifact_prefix={broken}/",
        ]
        run = _keeping(TARGETS[name].run, broken)
        log = _in_a_process(run, options, Path(scratch, "log"))
        if adds:
            _add_what_is_new(name, [*_files(seeds), *_files(found)], Path(scratch))
        inputs = [Path(shutil.copy(file, folder)) for file in _files(broken)]
    report = _report(name, seconds, log, inputs)
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    return report


def _keeping(run: Callable[[bytes], object], broken: Path) -> Callable[[bytes], None]:
    """The target, that keeps the input which breaks it and ends its process."""

    def run_or_keep(data: bytes) -> None:
        try:
            run(data)
        except BaseException:
            traceback.print_exc()
            (broken / name_of(data)).write_bytes(data)
            os._exit(1)

    return run_or_keep


def _in_a_process(run: Callable[[bytes], object], options: list[str], log: Path) -> bytes:
    """What libFuzzer says with these options. Forked: instrumenting takes longer than it does."""
    child = os.fork()
    if child == 0:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            atheris.Setup(["fuzz", *options], run)
            atheris.Fuzz()
        finally:
            # Whatever happened: what is on the stack belongs to the other process.
            os._exit(1)
    os.waitpid(child, 0)
    return log.read_bytes()


def _add_what_is_new(name: str, candidates: list[Path], scratch: Path) -> None:
    """Copy the candidates that reach new edges into the corpus, small ones first."""
    kept = _files(folder_of(name))
    files = [*kept, *sorted(candidates, key=lambda file: (file.stat().st_size, file.name))]
    edges = _edges(name, files, scratch)
    reached: set[int] = set()
    for at, file in enumerate(files):
        new = edges.get(at, frozenset()) - reached
        reached |= new
        if new and at >= len(kept):
            shutil.copy(file, folder_of(name) / name_of(file.read_bytes()))


def _edges(name: str, files: list[Path], scratch: Path) -> Mapping[int, frozenset[int]]:
    """The edges that each file reaches, by the inner step of libFuzzer's merge."""
    control = scratch / "control"
    control.write_text("\n".join([str(len(files)), "0", *map(str, files)]) + "\n")
    options = ["-merge_inner=1", f"-merge_control_file={control}"]
    _in_a_process(TARGETS[name].run, options, scratch / "merge_log")
    found = {}
    for line in control.read_text().splitlines()[len(files) + 2 :]:
        kind, at, *edges = line.split()
        if kind == "COV":
            found[int(at)] = frozenset(map(int, edges))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


def _report(name: str, seconds: int, log: bytes, inputs: list[Path]) -> dict[str, object]:
    states = _STATUS.findall(log)
    if not states and not inputs:
        sys.stderr.write(log[-2_000:].decode(errors="replace"))
        raise SystemExit(f"{name} did not start")
    runs, edges, features, _inputs = map(int, states[-1] if states else (0, 0, 0, 0))
    files = _files(folder_of(name))
    for file in inputs:
        sys.stderr.write(log[-2_000:].decode(errors="replace"))
        sys.stderr.write(f"{name} was broken by {file.relative_to(CORPUS)}\n")
    return {
        "target": name,
        "seconds": seconds,
        "runs": runs,
        "edges": edges,
        "features": features,
        "corpus_files": len(files),
        "corpus_bytes": sum(file.stat().st_size for file in files),
        "broken_by": [file.name for file in inputs],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
