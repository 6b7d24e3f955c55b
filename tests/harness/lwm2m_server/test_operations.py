"""Whatever a caller sends as a command is a request or an invalid command, never a crash."""

from __future__ import annotations

import contextlib
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Command, Operation, Value, ValueType
from harness.lwm2m_server.operations import InvalidCommand, request_of
from harness.lwm2m_server.outcomes import outcome_of
from harness.lwm2m_server.payloads import Payloads, Target
from lwm2m.coap import Response
from lwm2m.codecs import SUPPORTED
from tests.harness.lwm2m_server.world import MODELS

PAYLOADS = Payloads(lambda versions: MODELS)
TYPES: tuple[ValueType, ...] = (
    "string",
    "integer",
    "unsigned",
    "float",
    "boolean",
    "opaque",
    "time",
    "objlnk",
    "corelnk",
)
PATHS = st.one_of(
    st.sampled_from(
        ["/3416/0/1", "/3416/0", "/3416", "/3/0/0", "/3/0/11/0", "/9999/0/1", "/9999/0/1/2", "/"]
    ),
    st.text(max_size=12),
)
VALUES = st.builds(
    Value,
    PATHS,
    st.sampled_from(TYPES),
    st.one_of(
        st.text(max_size=20),
        st.integers(-(2**80), 2**80),
        st.floats(),
        st.booleans(),
        st.integers().map(str),
    ),
)
COMMANDS = st.builds(
    Command,
    id=st.just("c1"),
    endpoint=st.just("lamp-1"),
    operation=st.sampled_from(get_args(Operation)),
    expires_at_us=st.just(0),
    path=PATHS,
    values=st.one_of(st.none(), st.lists(VALUES, max_size=3)),
    mode=st.sampled_from(["replace", "update"]),
    paths=st.one_of(st.none(), st.lists(PATHS, max_size=3)),
    attributes=st.one_of(
        st.none(), st.dictionaries(st.sampled_from(["pmin", "con", "x"]), st.text(max_size=3))
    ),
    depth=st.one_of(st.none(), st.integers(-1, 5)),
    any_format=st.booleans(),
    arguments=st.one_of(st.none(), st.text(max_size=10)),
    format=st.one_of(st.none(), st.sampled_from([*sorted(SUPPORTED), 320, 322]), st.integers()),
)


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(COMMANDS, st.sampled_from(["1.0", "1.1", "1.2"]), st.sampled_from(["", "/lwm2m"]))
def test_any_command_is_a_request_or_invalid(command: Command, version: str, root: str) -> None:
    with contextlib.suppress(InvalidCommand):
        request_of(command, Target(version, MODELS, root), PAYLOADS)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(
    COMMANDS,
    st.builds(
        Response,
        st.sampled_from([0x41, 0x42, 0x44, 0x45, 0x84, 0xA0]),
        st.binary(max_size=40),
        st.one_of(st.none(), st.sampled_from([0, 40, 42, 60, 112, 11542, 50])),
    ),
)
def test_any_answer_has_an_outcome(command: Command, response: Response) -> None:
    with contextlib.suppress(InvalidCommand):
        target = Target("1.1", MODELS)
        request_of(command, target, PAYLOADS)
        outcome = outcome_of(command, response, target, PAYLOADS, secret=False)
        assert outcome.code is not None
