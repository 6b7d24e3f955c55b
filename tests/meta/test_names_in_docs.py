"""What the documentation names is there: routes, metrics, scenarios, settings, options, files."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from contracts.metric_rows import METRICS
from contracts.metrics import PROCESS, UNLISTED
from harness.runner.scenario import find_scenarios
from tests.meta.sources import PACKAGES, ROOT, files_of, name_of

pytestmark = pytest.mark.slow
# Pages that code prints have tests of their own that they are not stale; CHANGELOG.md is history.
PRINTED: Final = {"boxes.md", "configuration.md", "features.md", "metrics.md", "roles.md"}
PAGES: Final = [
    ROOT / "README.md",
    *sorted(one for one in (ROOT / "docs").rglob("*.md") if one.name not in PRINTED),
]
# Files of others that a page names.
ELSEWHERE: Final = {"mqtt/protocol/handler.py"}
# Where a name of a page may come from; what says it in a page alone says nothing.
SOURCES: Final = (*PACKAGES, "benchmarks", "tests", "deploy", "fixtures")
KINDS: Final = ("*.py", "*.toml", "*.ts", "*.tsx", "*.json", "*.yml", "*.yaml", "*.sh")
INFO: Final = "lamplighter_component_info"

_FENCE: Final = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
# Paths of ours over HTTP; a device has other ones over CoAP.
_ROUTE: Final = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE) (/(?:v1|api|live|metrics|healthz|readyz|\.well-known)\b[^\s?…]*)"
)
_METRIC: Final = re.compile(r"\blamplighter_[a-z0-9_]+[a-z0-9]\b(?![…*.-])")
_SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]+[a-z]")
# A setting, as TOML and JSON have it: at the beginning of its line.
_KEY: Final = re.compile(r'^ *"?([a-z][a-z0-9]*(?:_[a-z0-9]+)+)"? *[=:]', re.MULTILINE)
_VARIABLE: Final = re.compile(r"\bLAMPLIGHTER_[A-Z0-9_]*[A-Z0-9]\b")
_FILE: Final = re.compile(r"[a-z_]+(?:/[\w.-]+)+\.(?:py|md|toml|json|yml|yaml|sh)")
_TARGET: Final = re.compile(r"make ([a-z][a-z0-9_-]*)")
_MODULE: Final = re.compile(rf"python -m ((?:{'|'.join(PACKAGES)}|benchmarks|tests)[\w.]*)")


def code_of(text: str) -> Iterator[str]:
    """A page's code: each fenced block, and each word in backquotes outside of them."""
    yield from _FENCE.findall(text)
    yield from _INLINE.findall(_FENCE.sub("", text))


@cache
def sources() -> str:
    """All that names may come from, as one text."""
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "docker-compose.yml"]
    for name in SOURCES:
        for kind in KINDS:
            files += [one for one in (ROOT / name).rglob(kind) if "node_modules" not in one.parts]
    # This file names what is not there.
    return "\n".join(
        file.read_text(errors="replace")
        for file in sorted(files)
        if file.is_file() and file.name != Path(__file__).name
    )


@cache
def words() -> frozenset[str]:
    """Every word of the sources."""
    return frozenset(re.findall(r"[A-Za-z0-9_]+", sources()))


@cache
def routes() -> list[tuple[str, list[str]]]:
    """Method and path, by level, of every `Route` in the code."""
    found = []
    for file in files_of("city_platform", "harness", "runtime"):
        text = file.read_text()
        for node in ast.walk(ast.parse(text if "Route(" in text else "")):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Route" and node.args:
                path = node.args[0]
                if isinstance(path, ast.Constant):
                    methods = [one.value for one in node.keywords if one.arg == "methods"]
                    for method in ast.literal_eval(methods[0]) if methods else ["GET"]:
                        found.append((method, str(path.value).split("/")))
    return found


def _has_route(method: str, path: str) -> bool:
    levels = path.split("/")
    return any(
        method == has and len(levels) == len(wanted)
        and all(one[:1] == "{" or one == other for one, other in zip(wanted, levels, strict=True))
        for has, wanted in routes()
    )  # fmt: skip


def missing_routes(code: str) -> Iterator[str]:
    for method, path in _ROUTE.findall(code):
        if not _has_route(method, path.rstrip("/.,;)")):
            yield f"{method} {path}"


def missing_metrics(code: str) -> Iterator[str]:
    known = {row.metric for row in (*METRICS, *PROCESS)} | {INFO, UNLISTED}
    yield from (one for one in _METRIC.findall(code) if one not in known and one not in words())


@cache
def scenarios() -> frozenset[str]:
    """The names of all scenarios."""
    return frozenset(find_scenarios())


def missing_scenarios(code: str) -> Iterator[str]:
    known = scenarios()
    groups = "|".join(sorted({name.partition(".")[0] for name in known}))
    # What has a bracket or a further level behind it is code of ours.
    for name in re.findall(rf"(?<![\w./-])(?:{groups})\.[a-z]+_[a-z_]+\b(?![.(/*])", code):
        if name not in known and name.partition(".")[2] not in words():
            yield name


def missing_words(code: str) -> Iterator[str]:
    # A page may give the end of a name alone, of many that begin alike.
    if _SNAKE.fullmatch(code) and code[:12] != "lamplighter_" and code not in words():
        yield from [] if any(one.endswith(f"_{code}") for one in words()) else [code]
    names = (*_VARIABLE.findall(code), *_KEY.findall(code))
    yield from (one for one in names if one not in words())


def missing_options(code: str) -> Iterator[str]:
    for line in code.splitlines():
        if "lamplighter " in line or _MODULE.search(line):
            # What is behind ` -- ` is Locust's. An option may be made of a parameter's name.
            for one in _OPTION.findall(line.partition(" -- ")[0]):
                parameter = one[2:].removeprefix("no-").replace("-", "_")
                if one not in sources() and parameter not in words():
                    yield one


def missing_files(code: str) -> Iterator[str]:
    for name in [code] if _FILE.fullmatch(code) else []:
        is_ours = name.split("/")[0] in SOURCES and name not in ELSEWHERE
        if is_ours and not (ROOT / name).exists():
            yield name
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    yield from (f"make {one}" for one in _TARGET.findall(code) if one not in targets)
    for module in _MODULE.findall(code):
        path = ROOT / module.rstrip(".").replace(".", "/")
        if not path.is_dir() and not path.with_suffix(".py").exists():
            yield f"python -m {module}"


LOOKS: Final = [
    missing_routes, missing_metrics, missing_scenarios, missing_words, missing_options,
    missing_files,
]  # fmt: skip


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
def test_what_the_documentation_names_is_there(look: Callable[[str], Iterator[str]]) -> None:
    gone = {
        f"{name_of(page)}: {name}"
        for page in PAGES
        for code in code_of(page.read_text())
        for name in look(code)
    }
    assert sorted(gone) == []


@pytest.mark.parametrize(
    ("look", "code", "gone"),
    [
        (missing_routes, "GET /v1/devices/{endpoint}/state", []),
        (missing_routes, "GET /v1/devices/lamp-1/state?x=1", []),
        (missing_routes, "POST /v1/lamps", ["POST /v1/lamps"]),
        (missing_routes, "DELETE /v1/sign-in", ["DELETE /v1/sign-in"]),
        (missing_metrics, "increase(lamplighter_moons_total[1m])", ["lamplighter_moons_total"]),
        (missing_scenarios, "lamplighter run scale.dusk_of_day", ["scale.dusk_of_day"]),
        (missing_words, "http_port", []),
        (missing_words, "http_harbour", ["http_harbour"]),
        (missing_words, "```toml\nhttp_port = 1\nmoon_phase = 2\n```", ["moon_phase"]),
        (missing_words, "LAMPLIGHTER_MOON=1", ["LAMPLIGHTER_MOON"]),
        (missing_options, "lamplighter run --moonlit", ["--moonlit"]),
        (missing_options, "docker run --moonlit", []),
        (missing_files, "city_platform/moon.py", ["city_platform/moon.py"]),
        (missing_files, "make moonlight", ["make moonlight"]),
        (missing_files, "python -m harness.moon --x", ["python -m harness.moon"]),
    ],
)
def test_a_name_that_is_gone_is_found(
    look: Callable[[str], Iterator[str]], code: str, gone: list[str]
) -> None:
    assert list(look(code)) == gone


def test_code_is_what_is_in_fences_and_between_backquotes() -> None:
    page = "see `one` and\n\n```sh\ntwo `three`\n```\n\nfour `five`\n"
    assert [one.strip() for one in code_of(page)] == ["```sh\ntwo `three`\n```", "one", "five"]
