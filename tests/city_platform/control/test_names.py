"""Paths by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.control import UnknownName, builtin_names

NAMES = builtin_names()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/3311/0/5851", "/3311/0/5851"),
        ("3311/0/5851", "/3311/0/5851"),
        ("Light Control/0/Dimmer", "/3311/0/5851"),
        ("light_control / 0".replace(" / ", "/"), "/3311/0"),
        ("  LIGHT   control/2/on/off", "/3311/2/5850"),
        ("3311/0/Dimmer", "/3311/0/5851"),
        ("Light Control/0/5851", "/3311/0/5851"),
        ("Light Control", "/3311"),
        ("Light Control/Dimmer", "/3311/0/5851"),
        ("Light Control/On/Off", "/3311/0/5850"),
        ("Reset Error Code", "/3/0/12"),
        ("Device/0/Error Code/1", "/3/0/11/1"),
        ("65000/0/1", "/65000/0/1"),
    ],
)
def test_a_name_is_a_path(text: str, path: str) -> None:
    assert NAMES.path(text) == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Dimmer", "Light Control/0/Dimmer (/3311/0/5851)"),
        ("Location", "/3336 (Location)"),
        ("Dimer", "Light Control/0/Dimmer"),
        ("Light Contol/0/Dimmer", "is it /3311 (Light Control)"),
        ("Light Control/0/Brightness", "Light Control has no 'Brightness'; it has"),
        ("65000/0/Dimmer", "name its resources by number"),
        ("/3311/0/5851/0/1", "at most 4 levels"),
        ("/70000/0/1", "at most 65535"),
        ("", "no name"),
        ("/", "no name"),
        ("x" * 300, "at most 256"),
    ],
)
def test_what_is_unknown_or_ambiguous_names_the_choices(text: str, says: str) -> None:
    with pytest.raises(UnknownName) as caught:
        NAMES.path(text)
    assert says in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        found = NAMES.path(text)
    except UnknownName:
        return
    assert 1 <= found.count("/") <= 4
