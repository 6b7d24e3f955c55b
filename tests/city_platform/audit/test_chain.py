"""The chain finds whatever is done to its lines."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.audit.chain import (
    CHAIN_TRANSITIONS,
    LINE_BYTES_MAX,
    LINE_FINDINGS,
    ChainCheck,
    ChainHead,
    ChainState,
    LineFinding,
    MalformedLine,
    genesis,
    read_line,
)
from city_platform.audit.entries import (
    ENTRIES_MAX,
    AuditEntry,
    MalformedEntries,
    read_entries,
    shortened,
)
from tests.city_platform.audit.logs import entry, lines_of

BEGIN = genesis(bytes(32))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
entries = st.lists(
    st.builds(
        entry,
        st.integers(0, 10**6),
        who=texts,
        tenant=texts,
        device=texts,
        reference=texts,
        detail=texts,
        outcome=st.sampled_from(["succeeded", "refused", "denied", "unknown"]),
    ),
    min_size=1,
    max_size=12,
)


def check(lines: list[bytes], begin: ChainHead = BEGIN) -> tuple[list[LineFinding], ChainCheck]:
    found = ChainCheck(begin)
    return [found.take(line) for line in lines], found


@given(entries)
def test_a_chain_is_whole_and_ends_where_it_says(kept: list[AuditEntry]) -> None:
    lines, head = lines_of(kept, BEGIN)
    findings, found = check(lines)
    assert set(findings) == {LineFinding.NEXT}
    assert found.state is ChainState.WHOLE
    assert found.head == head == ChainHead(len(kept), head.hash)
    assert [read_line(line)[0].entry for line in lines] == kept


@given(entries, st.data())
def test_no_byte_can_be_changed(kept: list[AuditEntry], data: st.DataObject) -> None:
    lines, _ = lines_of(kept, BEGIN)
    place = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[place])
    byte = data.draw(st.integers(0, len(line) - 1))
    line[byte] ^= data.draw(st.integers(1, 255))
    lines[place] = bytes(line)
    assert check(lines)[1].state is ChainState.BROKEN


@given(entries, st.data())
def test_no_line_can_be_removed_but_at_the_end(kept: list[AuditEntry], data: st.DataObject) -> None:
    lines, _ = lines_of(kept, BEGIN)
    place = data.draw(st.integers(0, len(lines) - 1))
    is_last = place == len(lines) - 1
    del lines[place]
    findings, found = check(lines)
    assert (found.state is ChainState.BROKEN) is not is_last
    assert is_last or findings[place] is LineFinding.MISSING_BEFORE


@given(entries, st.data())
def test_lines_can_neither_be_repeated_nor_moved(
    kept: list[AuditEntry], data: st.DataObject
) -> None:
    lines, _ = lines_of(kept, BEGIN)
    order = data.draw(st.permutations(range(len(lines))))
    repeated = data.draw(st.integers(0, len(lines) - 1))
    moved = [lines[place] for place in order]
    assert (check(moved)[1].state is ChainState.WHOLE) is (order == sorted(order))
    findings, found = check([*lines, lines[repeated]])
    assert found.state is ChainState.BROKEN
    assert findings[-1] is LineFinding.REPEATED


@given(entries, st.data())
def test_a_line_cannot_be_made_anew_without_all_that_follow(
    kept: list[AuditEntry], data: st.DataObject
) -> None:
    lines, _ = lines_of(kept, BEGIN)
    place = data.draw(st.integers(0, len(lines) - 1))
    before = ChainCheck(BEGIN)
    for line in lines[:place]:
        before.take(line)
    forged, _ = lines_of([msgspec.structs.replace(kept[place], who="nobody at all")], before.head)
    findings, _ = check([*lines[:place], *forged, *lines[place + 1 :]])
    # The forged line itself looks good: the one behind it tells, and at the end the signed head.
    assert findings[place] is LineFinding.NEXT
    assert findings[place + 1 : place + 2] in ([], [LineFinding.FOREIGN])


def test_a_chain_of_another_log_is_not_taken_for_this_one() -> None:
    lines, _ = lines_of([entry(1), entry(2)], genesis(bytes([7]) * 32))
    findings, found = check(lines)
    assert findings == [LineFinding.FOREIGN, LineFinding.NEXT]
    assert found.state is ChainState.BROKEN


@given(st.binary(max_size=400))
def test_any_bytes_are_a_line_or_malformed(data: bytes) -> None:
    assert ChainCheck(BEGIN).take(data) is LineFinding.MALFORMED
    with pytest.raises(MalformedLine):
        read_line(data)


@given(st.integers(0, 200), st.binary(max_size=8))
def test_a_line_with_other_bytes_in_it_raises_nothing_else(at: int, inserted: bytes) -> None:
    line = lines_of([entry(1)], BEGIN)[0][0]
    try:
        read_line(line[:at] + inserted + line[at:])
    except MalformedLine:
        return


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{}", "ends with its"),
        (b" " * (LINE_BYTES_MAX + 1), "at most"),
        (lines_of([entry(1)], BEGIN)[0][0].replace(b'{"v":1', b'{"v":2'), "version 2"),
        (lines_of([entry(1)], BEGIN)[0][0].replace(b'"who"', b'"whose"'), "whose"),
        (b"[" * 10_000 + b',"hash":"' + b"0" * 64 + b'"}', "not an audit line"),
    ],
)
def test_a_malformed_line_says_what_is_expected(line: bytes, says: str) -> None:
    with pytest.raises(MalformedLine, match=says):
        read_line(line)


@pytest.mark.parametrize("state", ChainState)
@pytest.mark.parametrize("finding", LineFinding)
def test_every_cell_of_the_chain_leads_somewhere(state: ChainState, finding: LineFinding) -> None:
    after = CHAIN_TRANSITIONS[state][finding]
    is_whole = finding is LineFinding.NEXT and state is not ChainState.BROKEN
    assert after is (ChainState.WHOLE if is_whole else ChainState.BROKEN)
    assert LINE_FINDINGS[finding]


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_body_is_entries_or_malformed(body: bytes) -> None:
    with contextlib.suppress(MalformedEntries):
        read_entries(body)


def test_entries_say_where_they_are_wrong() -> None:
    good = msgspec.to_builtins(entry(1))
    for change, says in (
        ({"outcome": "perhaps"}, r"\$\[0\]\.outcome"),
        ({"id": ""}, r"\$\[0\]\.id"),
        ({"detail": "x" * 513}, r"\$\[0\]\.detail"),
        ({"more": 1}, "more"),
        ({"at_us": -1}, r"\$\[0\]\.at_us"),
    ):
        with pytest.raises(MalformedEntries, match=says):
            read_entries(msgspec.json.encode([good | change]))
    with pytest.raises(MalformedEntries, match=str(ENTRIES_MAX)):
        read_entries(msgspec.json.encode([good] * (ENTRIES_MAX + 1)))
    with pytest.raises(MalformedEntries):
        read_entries(b"[" * 10_000)


@given(st.text(max_size=600))
def test_a_shortened_text_can_always_be_kept(text: str) -> None:
    short = shortened(text)
    assert len(short) <= 512
    assert lines_of([entry(1, detail=short)], BEGIN)[0]
