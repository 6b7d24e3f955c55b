"""No test waits for a process for ever: a hanging run tells nobody why it hangs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(file for name in ("tests", "benchmarks") for file in (ROOT / name).rglob("*.py"))
# They wait until the process has ended.
RUNS = frozenset({"subprocess.run", "subprocess.check_output", "subprocess.check_call"})


def unbounded(text: str) -> Iterator[str]:
    """What in a module waits for a process for as long as that likes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in RUNS:
            if not {"timeout", None} & {keyword.arg for keyword in node.keywords}:
                yield f"{node.lineno}: {ast.unparse(node.func)} without timeout="
        elif isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Popen"):
                    yield f"{node.lineno}: with Popen, which waits at its end: tests.processes"


def test_whatever_waits_for_a_process_says_for_how_long() -> None:
    found = {file.relative_to(ROOT).as_posix(): list(unbounded(file.read_text())) for file in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_waits_for_ever_is_found() -> None:
    text = (
        "subprocess.run(['a'])\n"
        "subprocess.run(['a'], timeout=1)\n"
        "with subprocess.Popen(['a']) as process: pass\n"
        "subprocess.check_output(['a'], **options)\n"
    )
    assert sorted(one.partition(":")[0] for one in unbounded(text)) == ["1", "3"]
