"""Every relative link and image of the documentation points to something that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "reports" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "fixtures").rglob("README.md")),
]
_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|//")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _targets(text: str) -> Iterator[str]:
    """Where the links of a page point, without those to other sites; code holds none."""
    # Code inside a link's text is emptied and not cut out, so that the link stays one.
    for target in _LINK.findall(_CODE.sub("``", text)):
        if not _ELSEWHERE.match(target):
            yield target


def _anchors(page: Path) -> list[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return [heading.replace(" ", "-") for heading in headings]


def _problem(page: Path, target: str) -> str | None:
    file_name, _, anchor = target.partition("#")
    file = page.parent / file_name if file_name else page
    if not file.exists():
        return f"{target}: there is no {file_name}"
    if not file.resolve().is_relative_to(ROOT):
        return f"{target}: leads out of the repository"
    if anchor and _anchors(file).count(anchor) != 1:
        return f"{target}: there is not one heading for #{anchor}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_and_images_point_to_what_is_there(page: Path) -> None:
    problems = [_problem(page, target) for target in _targets(page.read_text())]
    assert not [problem for problem in problems if problem]


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("see [a](b.md) and ![c](d/e.png 'title')", ["b.md", "d/e.png"]),
        ("[`Code`](#code) and [x](y.md#z)", ["#code", "y.md#z"]),
        ("[site](https://example.org) [mail](mailto:a@b)", []),
        ("`[not](a.md)`\n\n```\n[nor](b.md)\n```\n", []),
    ],
)
def test_links_are_found_outside_code_and_on_this_site(text: str, targets: list[str]) -> None:
    assert list(_targets(text)) == targets
