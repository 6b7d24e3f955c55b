"""What `lamplighter command` asks of control, and how it tells the answers."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from contracts.api import FINAL_COMMAND_STATES, CommandPage, CommandRecord, GroupCommandRecord
from contracts.commands import CommandRequest, GroupCommandRequest
from contracts.data_interface import Operation
from contracts.names import check_endpoint_name
from runtime.http_client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Sequence

Verb = Literal["send", "send-group", "watch", "cancel"]
Record = CommandRecord | GroupCommandRecord
TOKEN_VARIABLE: Final = "LAMPLIGHTER_TOKEN"
ASKED_EVERY_S: Final = 0.5
# Told of each state of a group command that is not `succeeded`.
DEVICES_TOLD: Final = 5
_TOLD_AFTER_S: Final = 1.0
_GROUP_PREFIX: Final = "grp-"


class CannotAsk(Exception):
    """What is missing to ask control; the text says what to do."""


def request_of(
    operation: str, path: str, value: str | None, arguments: str | None, expires_in_s: float
) -> CommandRequest:
    """The command of a command line. Raises `CannotAsk`."""
    for known in get_args(Operation):
        if known == operation:
            return CommandRequest(
                operation=known,
                path=path,
                value=None if value is None else value_of(value),
                arguments=arguments,
                expires_in_s=expires_in_s,
            )
    raise CannotAsk(f"there is no operation {operation!r}: {', '.join(get_args(Operation))}")


def value_of(text: str) -> str | int | float | bool:
    """A value as JSON has it (`40`, `true`, `"40"`); what is none of these is a text."""
    import msgspec

    try:
        found: str | int | float | bool = msgspec.json.decode(text, type=str | int | float | bool)
    except msgspec.DecodeError:
        return text
    return found


def search_of(given: Sequence[str]) -> dict[str, str | list[str]]:
    """`NAME=VALUE` as a search has it; `attribute=height_m=10` may come several times.

    Raises `CannotAsk`."""
    found: dict[str, str | list[str]] = {}
    attributes = []
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise CannotAsk(f"--search {one!r}: NAME=VALUE, such as model=street_lamp")
        if name == "attribute":
            attributes.append(value)
        else:
            found[name] = value
    return found | ({"attribute": attributes} if attributes else {})


def exit_code_of(state: str) -> int:
    """0: done; 1: not done; 2: nobody knows, or not yet."""
    if state == "succeeded":
        return 0
    return 1 if state in ("refused", "failed", "expired", "cancelled") else 2


def group_exit_code_of(record: GroupCommandRecord) -> int:
    """0: all done; 1: some not done; 2: of some nobody knows, or not yet."""
    if record.state != "ended" or record.waiting:
        return 2
    return max((exit_code_of(state) for state in record.states), default=0)


def record_text(record: CommandRecord) -> str:
    """How far a command is, for people."""
    lines = [f"{record.id}: {record.state}"]
    lines.append(f"  {record.operation} {record.path} of {record.endpoint}")
    outcome = record.outcome
    if outcome is not None:
        if outcome.code is not None:
            lines.append(f"  code {outcome.code}")
        lines += [f"  {value.path} = {value.value}" for value in outcome.values or ()]
        if outcome.error is not None:
            lines.append(f"  {outcome.error.stage}: {outcome.error.detail}")
    if record.detail:
        lines.append(f"  {record.detail}")
    return "\n".join(lines) + "\n"


def group_text(record: GroupCommandRecord, others: Sequence[CommandRecord] = ()) -> str:
    """How far a group command is, for people; `others` are some that did not succeed."""
    lines = [f"{record.id}: {record.state}"]
    devices = "1 device" if record.devices == 1 else f"{record.devices:,} devices"
    lines.append(f"  {record.operation} {record.path} of {devices}")
    counts = [f"{count:,} {state}" for state, count in sorted(record.states.items())]
    counts += [f"{record.waiting:,} waiting for their turn"] if record.waiting else []
    lines.append(f"  {', '.join(counts)}")
    for one in others:
        code = one.outcome.code if one.outcome else None
        lines.append(f"  {one.endpoint}: {one.state}{f' {code}' if code else ''}")
    return "\n".join(lines) + "\n"


async def ask(
    verb: Verb,
    control: str,
    token: str,
    within_s: float,
    subject: str,
    request: CommandRequest | GroupCommandRequest | None,
) -> tuple[str, int]:
    """Ask control and wait, at most `within_s` seconds: what to tell, and the exit code.

    Raises `CannotAsk`, `HttpError` and `OSError`."""
    address = address_of(control)
    async with HttpClient(address, token) as client:
        try:
            record = await _begin(client, verb, subject, request)
        except OSError as error:
            raise CannotAsk(
                f"control does not answer at {address} ({error}): is it running, and is "
                "--control its address?"
            ) from None
        if isinstance(record, CommandRecord):
            record = await _until_final(client, record, within_s)
            return record_text(record), exit_code_of(record.state)
        record = await _until_ended(client, record, within_s)
        return group_text(record, await _others(client, record)), group_exit_code_of(record)


async def _begin(
    client: HttpClient,
    verb: Verb,
    subject: str,
    request: CommandRequest | GroupCommandRequest | None,
) -> Record:
    if isinstance(request, GroupCommandRequest):
        return await client.post("/v1/commands", request, GroupCommandRecord)
    if request is not None:
        path = f"/v1/devices/{check_endpoint_name(subject)}/commands"
        return await client.post(path, request, CommandRecord)
    if not subject.isascii() or not subject.replace("-", "").isalnum():
        raise CannotAsk(f"{subject[:40]!r} is no id of a command")
    is_group = subject.startswith(_GROUP_PREFIX)
    path = f"/v1/{'group-commands' if is_group else 'commands'}/{subject}"
    kind = GroupCommandRecord if is_group else CommandRecord
    if verb == "cancel":
        return await client.send("POST", f"{path}/cancel", b"", kind)
    return await client.get(path, kind)


async def _until_final(client: HttpClient, record: CommandRecord, within_s: float) -> CommandRecord:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    is_told = False
    while record.state not in FINAL_COMMAND_STATES and loop.time() < begun + within_s:
        if not is_told and loop.time() >= begun + _TOLD_AFTER_S:
            why = f" ({record.detail})" if record.detail else ""
            _tell(f"{record.id}: {record.state}{why}; waiting up to {within_s:g} s")
            is_told = True
        await asyncio.sleep(ASKED_EVERY_S)
        record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
    return record


async def _until_ended(
    client: HttpClient, record: GroupCommandRecord, within_s: float
) -> GroupCommandRecord:
    loop = asyncio.get_running_loop()
    due = loop.time() + within_s
    told = ""
    while record.state != "ended" and loop.time() < due:
        ended = sum(
            count for state, count in record.states.items() if state in FINAL_COMMAND_STATES
        )
        line = f"{record.id}: {ended:,} of {record.devices:,} have an outcome"
        if line != told:
            _tell(line)
            told = line
        await asyncio.sleep(4 * ASKED_EVERY_S)
        record = await client.get(f"/v1/group-commands/{record.id}", GroupCommandRecord)
    return record


async def _others(client: HttpClient, record: GroupCommandRecord) -> list[CommandRecord]:
    """Some devices of each state but `succeeded`."""
    found: list[CommandRecord] = []
    for state in sorted(record.states):
        if state in FINAL_COMMAND_STATES and state != "succeeded":
            query = f"state={state}&limit={DEVICES_TOLD}"
            page = await client.get(f"/v1/group-commands/{record.id}/commands?{query}", CommandPage)
            found += page.commands
    return found


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def address_of(control: str) -> str:
    """`host:port`, also of an address as a browser has it. Raises `CannotAsk`."""
    address = control.removeprefix("http://").rstrip("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        raise CannotAsk(f"--control is host:port, not {control!r}")
    return address


def token_in(file: Path | None) -> str:
    """The access token. Raises `CannotAsk`, which never has what was read."""
    try:
        if file is not None:
            token, where = file.read_text().strip(), str(file)
        else:
            token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CannotAsk(f"cannot read the token file {file}: {why}") from None
    if not token or not token.isascii() or not token.isprintable():
        raise CannotAsk(
            f"there is no token in {where}: name its file by --token-file "
            "(of `lamplighter up`: operator_tokens/controller in its state folder)"
        )
    return token
