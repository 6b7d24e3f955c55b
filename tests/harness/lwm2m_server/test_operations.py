"""Whatever a caller sends as a command is a request or an invalid command, never a crash."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Command, Value, ValueType
from harness.lwm2m_server.operations import InvalidCommand, Operations
from lwm2m.coap import Response
from tests.harness.lwm2m_server.world import MODELS

OPERATIONS = Operations(MODELS)
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
    operation=st.sampled_from(["read", "discover", "write", "execute", "create", "delete"]),
    expires_at_us=st.just(0),
    path=PATHS,
    values=st.one_of(st.none(), st.lists(VALUES, max_size=3)),
    mode=st.sampled_from(["replace", "update"]),
    arguments=st.one_of(st.none(), st.text(max_size=10)),
    format=st.one_of(st.none(), st.sampled_from([0, 42, 60, 112, 11542]), st.integers()),
)


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(COMMANDS, st.sampled_from(["1.0", "1.1"]))
def test_any_command_is_a_request_or_invalid(command: Command, version: str) -> None:
    with contextlib.suppress(InvalidCommand):
        OPERATIONS.request_of(command, version)


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
        OPERATIONS.request_of(command, "1.1")
        outcome = OPERATIONS.outcome_of(command, response, secret=False)
        assert outcome.code is not None
