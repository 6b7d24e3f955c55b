"""The configuration's page says what the models say."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Annotated

import msgspec
import pytest

from city_platform.__main__ import COMPONENTS
from city_platform.configuration_page import COMMAND, PAGE, Field, configuration_page, fields_of


class Part(msgspec.Struct, frozen=True):
    """What a part is.

    And more of it.
    """

    size: int = 1


class Example(msgspec.Struct, kw_only=True):
    """Fields of all kinds."""

    # What stands
    # before it.
    commented: str
    described: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 7
    """What stands behind it."""
    # First and longest pause, in seconds.
    first_s: float = 0.5
    longest_s: float = 2.0
    part: Part = Part(size=2)
    parts: tuple[Part, ...] = ()

    many: list[str] = []
    named: dict[str, int] | None = None


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == configuration_page(), f"{COMMAND} writes it"


def test_a_field_has_type_default_and_what_stands_at_it() -> None:
    assert fields_of(Example) == [
        Field("commented", "text", "required", "What stands before it."),
        Field("described", "whole number ≥ 1, ≤ 2,000", "`7`", "What stands behind it."),
        Field("first_s", "number", "`0.5`", "First and longest pause, in seconds."),
        Field("longest_s", "number", "`2.0`", "see `first_s`"),
        Field("part", "Part", "its own, but `size = 2`", "What a part is."),
        Field("parts", "list of Part", "`[]`", "What a part is."),
        Field("many", "list of text", "`[]`", ""),
        Field("named", "whole number by name", "none", ""),
    ]


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_field_of_a_component_says_what_it_means(component: str) -> None:
    place = COMPONENTS[component]
    model = getattr(import_module(place.module), place.config)
    assert [field.name for field in fields_of(model) if not field.meaning] == []


def test_every_part_that_is_named_has_its_section_once() -> None:
    text = PAGE.read_text()
    named = set(re.findall(r"\]\(#([a-z]+)\)", text))
    sections = [title.lower() for title in re.findall(r"^### (\w+)$", text, re.MULTILINE)]
    assert named <= set(sections)
    assert len(sections) == len(set(sections))
