"""`lamplighter command`: send a command to a device, watch it, take it back."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

if TYPE_CHECKING:
    from contracts.api import CommandRecord, CommandRequest
    from runtime.http_client import HttpClient

ADDRESS_VARIABLE: Final = "LAMPLIGHTER_CONTROL"
TOKEN_VARIABLE: Final = "LAMPLIGHTER_TOKEN"
TOKEN_FILE_VARIABLE: Final = "LAMPLIGHTER_TOKEN_FILE"
EXIT_OTHER: Final = 3
ASKED_EVERY_S: Final = 0.5

app = typer.Typer(name="command", help="Commands to devices.", no_args_is_help=True)

Address = Annotated[
    str, typer.Option("--control", metavar="HOST:PORT", envvar=ADDRESS_VARIABLE, help="Control.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", envvar=TOKEN_FILE_VARIABLE,
        help=f"File with the access token; else it is in ${TOKEN_VARIABLE}.",
    ),
]  # fmt: skip
Id = Annotated[str, typer.Argument(metavar="ID", help="The command's id.")]
Within = Annotated[float, typer.Option("--within", metavar="S", help="Seconds to wait.")]


class _CannotAsk(Exception):
    """What is missing to ask control; the text says what to do."""


@app.command("send")
def send_command(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The device.")],
    operation: Annotated[str, typer.Argument(help="read, write, execute…")],
    path: Annotated[str, typer.Argument(help="/3311/0/5851, or Light Control/0/Dimmer.")],
    control: Address,
    value: Annotated[str | None, typer.Option(help="What to write; JSON, or else a text.")] = None,
    arguments: Annotated[str | None, typer.Option(help="Of execute.")] = None,
    expires: Annotated[float, typer.Option(metavar="S", help="Seconds until it expires.")] = 60.0,
    token_file: TokenFile = None,
    within: Within = 60.0,
) -> None:
    """Send a command and wait for its outcome."""
    fields: dict[str, object] = {"operation": operation, "path": path, "expires_in_s": expires}
    if value is not None:
        fields["value"] = value_of(value)
    if arguments is not None:
        fields["arguments"] = arguments
    _finish("send", control, token_file, within, endpoint, fields)


@app.command("watch")
def watch_command(
    command_id: Id, control: Address, token_file: TokenFile = None, within: Within = 60.0
) -> None:
    """Wait for the outcome of a command."""
    _finish("watch", control, token_file, within, command_id)


@app.command("cancel")
def cancel_command(
    command_id: Id, control: Address, token_file: TokenFile = None, within: Within = 60.0
) -> None:
    """Take a command back and wait for what became of it."""
    _finish("cancel", control, token_file, within, command_id)


def value_of(text: str) -> str | int | float | bool:
    """A value as JSON has it (`40`, `true`, `"40"`); what is none of these is a text."""
    import msgspec

    try:
        found: str | int | float | bool = msgspec.json.decode(text, type=str | int | float | bool)
    except msgspec.DecodeError:
        return text
    return found


def exit_code_of(state: str) -> int:
    """0: done; 1: not done; 2: nobody knows, or not yet."""
    if state == "succeeded":
        return 0
    return 1 if state in ("refused", "failed", "expired", "cancelled") else 2


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


def _finish(
    verb: Literal["send", "watch", "cancel"],
    control: str,
    token_file: Path | None,
    within_s: float,
    subject: str,
    fields: dict[str, object] | None = None,
) -> None:
    import msgspec

    from runtime.http_client import HttpError

    try:
        record = asyncio.run(_ask(verb, control, _token(token_file), within_s, subject, fields))
    except (HttpError, OSError, ValueError, msgspec.MsgspecError, _CannotAsk) as error:
        sys.stderr.write(f"lamplighter command {verb}: {error}\n")
        raise typer.Exit(EXIT_OTHER) from None
    sys.stdout.write(record_text(record))
    raise typer.Exit(exit_code_of(record.state))


async def _ask(
    verb: str,
    control: str,
    token: str,
    within_s: float,
    subject: str,
    fields: dict[str, object] | None,
) -> CommandRecord:
    import msgspec

    from contracts.api import CommandRecord, CommandRequest
    from runtime.http_client import HttpClient

    if not control.rpartition(":")[2].isdecimal():
        raise _CannotAsk(f"--control is host:port, not {control!r}")
    async with HttpClient(control, token) as client:
        if verb == "send":
            request: CommandRequest = msgspec.convert(fields, CommandRequest)
            record = await _post(client, subject, request)
        else:
            path = f"/v1/commands/{_checked(subject)}"
            if verb == "cancel":
                record = await client.send("POST", f"{path}/cancel", b"", CommandRecord)
            else:
                record = await client.get(path, CommandRecord)
        return await _until_final(client, record, within_s)


async def _post(client: HttpClient, endpoint: str, request: CommandRequest) -> CommandRecord:
    from contracts.api import CommandRecord
    from contracts.names import check_endpoint_name

    path = f"/v1/devices/{check_endpoint_name(endpoint)}/commands"
    return await client.post(path, request, CommandRecord)


async def _until_final(client: HttpClient, record: CommandRecord, within_s: float) -> CommandRecord:
    from contracts.api import FINAL_COMMAND_STATES, CommandRecord

    loop = asyncio.get_running_loop()
    due = loop.time() + within_s
    while record.state not in FINAL_COMMAND_STATES and loop.time() < due:
        await asyncio.sleep(ASKED_EVERY_S)
        record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
    return record


def _checked(command_id: str) -> str:
    if not command_id.isascii() or not command_id.replace("-", "").isalnum():
        raise _CannotAsk(f"{command_id[:40]!r} is no id of a command")
    return command_id


def _token(file: Path | None) -> str:
    if file is not None:
        token = file.read_text().strip()
        where = str(file)
    else:
        token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
    if not token or not token.isascii() or not token.isprintable():
        raise _CannotAsk(f"there is no token in {where}: sign in, and give --token-file")
    return token
