"""Claims about several servers and bridges: each command reaches its device's holder, and no other;
devices that move are followed; a bridge's loss is seen, and its devices are told of again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from contracts.journal import (
    CommandConcluded,
    CommandEnded,
    CommandIssued,
    CommandReceived,
    EventLogged,
    MessageSeen,
    Note,
    ProcessKilled,
)
from contracts.report import Evidence
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

NOTE_MOVED = "device_moved"
NOTE_BRIDGE_LOST = "bridge_shown_lost"
NOTE_BRIDGE_BACK = "bridge_shown_live"
BRIDGE_NOTES = (NOTE_MOVED, NOTE_BRIDGE_LOST, NOTE_BRIDGE_BACK)
# A registration is known to those who send commands so long after its server logged it.
_HEARD_NS = 2_000_000_000
# A bridge that is killed is shown as lost within one keep-alive and a half, or two and a half
# periods of its status, whichever is shorter.
LOST_WITHIN_S = 90.0


class Held(NamedTuple):
    """From when on a server held a device, as its own log says."""

    at_ns: int
    server: str


def holders(journal: Journal) -> Mapping[str, Sequence[Held]]:
    """Which servers each device registered with, in order."""
    found: dict[str, list[Held]] = {}
    for event in journal.of(EventLogged):
        if event.kind == "registered":
            found.setdefault(event.endpoint, []).append(Held(event.at_ns, event.server))
    return {endpoint: sorted(each) for endpoint, each in found.items()}


def _held_between(held: Sequence[Held], first_ns: int, last_ns: int) -> set[str]:
    """The servers that held the device at some time in between."""
    begins = bisect_right(held, first_ns, key=lambda each: each.at_ns)
    ends = bisect_right(held, last_ns, key=lambda each: each.at_ns)
    return {each.server for each in held[max(0, begins - 1) : ends]}


# ---- exactly the holder ----

_EXACTLY = Claim(
    "commands_reach_exactly_the_holder",
    "Every command that was carried out went to the server that held its device, and no server "
    "got a command for a device that another held.",
)


def commands_reach_exactly_the_holder(journal: Journal) -> Verdict:
    """Where each command arrived, against who held the device between its issue and then."""
    missing = unobserved(journal, CommandIssued, CommandReceived, EventLogged)
    if missing is not None:
        return _EXACTLY.inconclusive(missing)
    issued = {command.id: command for command in journal.of(CommandIssued)}
    held = journal.derive(holders)
    received: dict[str, set[str]] = {}
    faults: list[Evidence] = []
    for one in journal.of(CommandReceived):
        command = issued.get(one.id)
        if command is None:
            continue
        received.setdefault(one.id, set()).add(one.server)
        right = _held_between(held.get(one.endpoint, ()), command.at_ns - _HEARD_NS, one.at_ns)
        if one.server not in right:
            faults.append(
                Evidence(
                    endpoint=one.endpoint,
                    observed=f"{one.server} got command {one.id}",
                    expected=f"{' or '.join(sorted(right)) or 'no server'}, which held it",
                    at_s=journal.since_start_s(one.at_ns),
                )
            )
    faults += _never_received(journal, issued, received)
    servers = {server for each in received.values() for server in each}
    return _EXACTLY.judge(
        faults,
        good=f"{len(received):,} commands reached their holders, {len(servers)} servers in all",
        bad=f"commands that went astray: {len(faults):,}",
    )


def _never_received(
    journal: Journal, issued: Mapping[str, CommandIssued], received: Mapping[str, set[str]]
) -> Iterator[Evidence]:
    for ended in journal.of(CommandConcluded):
        if ended.state == "succeeded" and ended.id in issued and ended.id not in received:
            yield Evidence(
                endpoint=ended.endpoint,
                observed=f"command {ended.id} succeeded and no server got it",
                expected="its holder did",
                at_s=journal.since_start_s(ended.at_ns),
            )


# ---- devices that move ----

_FOLLOWED = Claim(
    "moved_devices_are_followed",
    "Every device that moves to another server is commanded there: later commands succeed at its "
    "new holder, and those under way come to an end.",
)


def moved_devices_are_followed(journal: Journal) -> Verdict:
    """For each move: where the device registered, and where its next command was carried out."""
    missing = unobserved(journal, CommandIssued, CommandEnded, EventLogged)
    if missing is not None:
        return _FOLLOWED.inconclusive(missing)
    moves = {note.endpoint: note for note in journal.of(Note) if note.name == NOTE_MOVED}
    if not moves:
        return _FOLLOWED.inconclusive("no device was moved")
    faults = [*_not_followed(journal, moves), *_unresolved(journal, moves)]
    return _FOLLOWED.judge(
        faults,
        good=f"{len(moves):,} devices moved, and every command to them ended where it should",
        bad=f"devices or commands that were not followed: {len(faults):,}",
    )


def _not_followed(journal: Journal, moves: Mapping[str, Note]) -> Iterator[Evidence]:
    held = journal.derive(holders)
    ended = {one.id: one for one in journal.of(CommandEnded) if one.code.startswith("2.")}
    served: dict[str, set[str]] = {}
    for command in journal.of(CommandIssued):
        move = moves.get(command.endpoint)
        if move is not None and command.at_ns > move.at_ns + _HEARD_NS and command.id in ended:
            served.setdefault(command.endpoint, set()).add(ended[command.id].server)
    for endpoint, move in moves.items():
        registered = {each.server for each in held.get(endpoint, ()) if each.at_ns > move.at_ns}
        if move.text not in registered:
            observed = f"registered with {', '.join(sorted(registered)) or 'nobody'} after its move"
        elif served.get(endpoint, set()) != {move.text}:
            at = ", ".join(sorted(served.get(endpoint, set()))) or "no server"
            observed = f"later commands were carried out at {at}"
        else:
            continue
        yield Evidence(
            endpoint=endpoint,
            observed=observed,
            expected=move.text,
            at_s=journal.since_start_s(move.at_ns),
        )


def _unresolved(journal: Journal, moves: Mapping[str, Note]) -> Iterator[Evidence]:
    concluded = {one.id for one in journal.of(CommandConcluded)}
    for command in journal.of(CommandIssued):
        if command.endpoint in moves and command.id not in concluded:
            yield Evidence(
                endpoint=command.endpoint,
                observed=f"command {command.id} has no final state",
                expected="one, whatever it is",
                at_s=journal.since_start_s(command.at_ns),
            )


# ---- bridges that are lost ----

_SEEN = Claim(
    "bridge_losses_are_seen",
    f"A bridge that is killed is shown as lost within {LOST_WITHIN_S:g} s, and as live when it is "
    "back; then every device of its server is told of again, from the snapshot.",
)


def bridge_losses_are_seen(journal: Journal) -> Verdict:
    """For each kill of a bridge: what control showed, and which devices were told of again."""
    kills = [one for one in journal.of(ProcessKilled) if one.process.startswith("bridge")]
    if not kills:
        return _SEEN.inconclusive("no bridge was killed")
    missing = unobserved(journal, MessageSeen, EventLogged)
    if missing is not None:
        return _SEEN.inconclusive(missing)
    faults: list[Evidence] = []
    for kill in kills:
        lost = _note_after(journal, NOTE_BRIDGE_LOST, kill)
        back = _note_after(journal, NOTE_BRIDGE_BACK, kill)
        if lost is None or lost.at_ns - kill.at_ns > LOST_WITHIN_S * 1e9:
            faults.append(_at_kill(journal, kill, "was not shown as lost", "within the time"))
        if back is None:
            faults.append(_at_kill(journal, kill, "was not shown as live again", "live"))
        else:
            faults += _not_told_again(journal, kill, back)
    return _SEEN.judge(
        faults,
        good=f"{len(kills)} kills, each shown, and every device told of again",
        bad=f"what was not seen or not told: {len(faults):,}",
    )


def _note_after(journal: Journal, name: str, kill: ProcessKilled) -> Note | None:
    found = (
        note
        for note in journal.of(Note)
        if note.name == name and note.endpoint == kill.process and note.at_ns > kill.at_ns
    )
    return next(found, None)


def _at_kill(journal: Journal, kill: ProcessKilled, observed: str, expected: str) -> Evidence:
    return Evidence(
        endpoint=kill.process,
        observed=observed,
        expected=expected,
        at_s=journal.since_start_s(kill.at_ns),
    )


def _not_told_again(journal: Journal, kill: ProcessKilled, back: Note) -> Iterator[Evidence]:
    """`back.text` is the server's name."""
    told = {
        seen.endpoint
        for seen in journal.of(MessageSeen)
        if seen.snapshot and seen.server == back.text and seen.at_ns > kill.at_ns
    }
    for endpoint, held in journal.derive(holders).items():
        at_kill = [each.server for each in held if each.at_ns < kill.at_ns]
        if at_kill and at_kill[-1] == back.text and endpoint not in told:
            yield Evidence(
                endpoint=endpoint,
                observed=f"{back.text} held it, and its bridge did not tell of it again",
                expected="a registered event from the snapshot",
                at_s=journal.since_start_s(back.at_ns),
            )


_SPREAD = Claim(
    "every_server_has_its_share",
    "The city is spread over several servers: each holds devices, and each takes commands.",
)


def every_server_has_its_share(journal: Journal) -> Verdict:
    """No server idles while others work."""
    missing = unobserved(journal, CommandReceived, EventLogged)
    if missing is not None or journal.run is None:
        return _SPREAD.inconclusive(missing or "there is no beginning of the run")
    wanted = int(journal.run.options.get("servers", "1"))
    first = {held[0].server for held in journal.derive(holders).values()}
    commanded = {one.server for one in journal.of(CommandReceived)}
    faults = [
        Evidence(endpoint=what, observed=f"{len(servers)} of {wanted} servers", expected="all")
        for what, servers in (("registrations", first), ("commands", commanded))
        if len(servers) < wanted
    ]
    return _SPREAD.judge(
        faults, good=f"{wanted} servers, all at work", bad="servers without a share"
    )
