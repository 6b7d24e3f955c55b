"""No test waits for ever, and none gives up soon: a hanging run tells nobody why it hangs, and a
machine that is busy with others is no fault."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILES = sorted([*TESTS, *(ROOT / "benchmarks").rglob("*.py")])
# They wait until the process has ended.
RUNS = frozenset({"subprocess.run", "subprocess.check_output", "subprocess.check_call"})
# They take their bound as this argument, or as `timeout`.
BOUNDS = {"asyncio.timeout": 0, "asyncio.wait_for": 1, "psutil.wait_procs": 1, "asyncio.wait": 9}
# They have a bound of five seconds of their own, but on a transport without a network.
HTTP = frozenset(
    f"httpx.{name}" for name in ("AsyncClient", "Client", "get", "post", "put", "delete", "request")
)
# Without one of these words nothing in a module waits.
WAITS = ("WITHIN_S", "timeout", "wait", "httpx", "Thread", "readline")
SOON_S = 20


def unbounded(text: str) -> Iterator[str]:
    """What in a module waits for a process for as long as that likes."""
    if "subprocess" not in text and "Popen" not in text:
        return  # most modules: reading one as Python takes its time
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _name(node.func) in RUNS:
            if not {"timeout", None} & _given(node):
                yield f"{node.lineno}: {_name(node.func)} without timeout="
        elif isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and _name(call.func).endswith("Popen"):
                    yield f"{node.lineno}: with Popen, which waits at its end: tests.processes"


def unsteady(text: str) -> Iterator[str]:
    """What in a test waits too short for a busy machine, or for ever."""
    if not any(word in text for word in WAITS):
        return
    nodes = list(ast.walk(ast.parse(text)))
    awaited = {id(call) for node in nodes for call in _awaited(node)}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_soon(node.value):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if _name(target).strip("_") == "WITHIN_S":
                yield f"{node.lineno}: less than {SOON_S} s: tests.processes.WITHIN_S"
        elif isinstance(node, ast.Call):
            name = _name(node.func)
            if name in BOUNDS and _is_soon(_bound_of(node, BOUNDS[name])):
                yield f"{node.lineno}: {name} of less than {SOON_S} s: tests.processes.WITHIN_S"
            elif name in HTTP and not {"timeout", "transport", None} & _given(node):
                yield f"{node.lineno}: {name} gives up after five seconds: timeout=WITHIN_S"
            elif name == "threading.Thread" and "daemon" not in _given(node):
                yield f"{node.lineno}: a thread that keeps the process from its end: daemon=True"
            elif name.endswith("process.stdout.readline") and id(node) not in awaited:
                yield f"{node.lineno}: {name} waits for ever: tests.processes.line_of"


def _name(node: ast.expr) -> str:
    """`a.b.c`; where that begins with something else than a name, that is left out."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


def _given(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def _bound_of(call: ast.Call, at: int) -> ast.expr | None:
    named = (keyword.value for keyword in call.keywords if keyword.arg == "timeout")
    return call.args[at] if at < len(call.args) else next(named, None)


def _is_soon(value: ast.expr | None) -> bool:
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int | float)
        and value.value < SOON_S
    )


def _awaited(node: ast.AST) -> Iterator[ast.AST]:
    """The calls that a loop waits for: whoever runs the loop bounds them, `wait_for` or not."""
    if isinstance(node, ast.Await):
        yield node.value
    elif isinstance(node, ast.Call) and _name(node.func) == "asyncio.wait_for":
        yield from node.args[:1]


def test_whatever_waits_for_a_process_says_for_how_long() -> None:
    found = {file.relative_to(ROOT).as_posix(): list(unbounded(file.read_text())) for file in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_test_is_sooner_at_its_end_than_a_busy_machine() -> None:
    found = {file.relative_to(ROOT).as_posix(): list(unsteady(file.read_text())) for file in TESTS}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_waits_for_ever_is_found() -> None:
    text = (
        "subprocess.run(['a'])\n"
        "subprocess.run(['a'], timeout=1)\n"
        "with subprocess.Popen(['a']) as process: pass\n"
        "subprocess.check_output(['a'], **options)\n"
    )
    assert sorted(one.partition(":")[0] for one in unbounded(text)) == ["1", "3"]


def test_what_gives_up_soon_is_found() -> None:
    text = (
        "WITHIN_S: Final = 2.0\n"
        "_WITHIN_S = 60.0\n"
        "asyncio.timeout(5)\n"
        "asyncio.timeout(WITHIN_S)\n"
        "asyncio.wait_for(one, timeout=5)\n"
        "psutil.wait_procs(some, 2)\n"
        "httpx.AsyncClient(base_url=url)\n"
        "httpx.AsyncClient(transport=transport)\n"
        "threading.Thread(target=run)\n"
        "process.stdout.readline()\n"
        "async def run(): await process.stdout.readline()\n"
        "asyncio.wait_for(process.stdout.readline(), 60)\n"
        "asyncio.wait({task}, timeout=1)\n"
    )
    numbers = [int(one.partition(":")[0]) for one in unsteady(text)]
    assert sorted(numbers) == [1, 3, 5, 6, 7, 9, 10, 13]
