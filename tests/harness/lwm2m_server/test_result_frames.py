"""The events of a command's end are, byte for byte, what `Event` encodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.data_interface import Completes, Event, Outcome, ResultError, Value, encode
from harness.lwm2m_server.result_frames import BootstrapEvent, ResultEvent

_TEXTS = st.text(max_size=20)
_IDS = st.one_of(st.none(), _TEXTS)
_OUTCOMES = st.builds(
    Outcome,
    id=_TEXTS,
    operation=st.sampled_from(["create", "write", "read", "observe"]),
    code=st.sampled_from([None, "2.01", "4.04"]),
    path=_IDS,
    values=st.one_of(st.none(), st.just([Value("/3/0/0", "string", "lämp")])),
    location=_IDS,
    error=st.one_of(st.none(), st.builds(ResultError, st.just("coap"), _TEXTS)),
    remark=_IDS,
    local=st.booleans(),
)


@given(_TEXTS, _TEXTS, st.integers(0, 2**53), _TEXTS, st.integers(0, 2**53), _IDS, _OUTCOMES)
def test_a_result(
    server: str, epoch: str, seq: int, endpoint: str, at_us: int, held: str | None, outcome: Outcome
) -> None:
    event = Event(
        server=server, epoch=epoch, seq=seq, kind="result", endpoint=endpoint, at_us=at_us,
        registration_id=held, result=outcome,
    )  # fmt: skip
    short = ResultEvent(server, epoch, seq, "result", endpoint, at_us, held, outcome)
    assert encode(short) == encode(event)


@given(_TEXTS, st.integers(0, 2**53), _TEXTS, st.integers(0, 2**53), _IDS, _TEXTS)
def test_a_bootstrap(
    epoch: str, seq: int, endpoint: str, at_us: int, held: str | None, version: str
) -> None:
    completed = Completes("credentials", version)
    event = Event(
        server="s1", epoch=epoch, seq=seq, kind="bootstrap", endpoint=endpoint, at_us=at_us,
        registration_id=held, completed=completed,
    )  # fmt: skip
    short = BootstrapEvent("s1", epoch, seq, "bootstrap", endpoint, at_us, held, completed)
    assert encode(short) == encode(event)
