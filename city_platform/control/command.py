"""`lamplighter command`: send a command to one device or to many, watch it, take it back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from city_platform.control.asking import Verb
    from contracts.commands import CommandRequest, GroupCommandRequest

ADDRESS_VARIABLE: Final = "LAMPLIGHTER_CONTROL"
TOKEN_FILE_VARIABLE: Final = "LAMPLIGHTER_TOKEN_FILE"
EXIT_OTHER: Final = 3

app = typer.Typer(name="command", help="Commands to devices.", no_args_is_help=True)

Address = Annotated[
    str,
    typer.Option(
        "--control", metavar="HOST:PORT", envvar=ADDRESS_VARIABLE,
        help="Where control is; `lamplighter up` prints it.",
    ),
]  # fmt: skip
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", envvar=TOKEN_FILE_VARIABLE,
        help="File with the access token; else it is in $LAMPLIGHTER_TOKEN.",
    ),
]  # fmt: skip
Id = Annotated[str, typer.Argument(metavar="ID", help="Of a command, or of a group command.")]
Within = Annotated[float, typer.Option("--within", metavar="S", help="Seconds to wait.")]
OperationName = Annotated[
    str, typer.Argument(metavar="OPERATION", help="read, write, execute, discover, …")
]
PathName = Annotated[
    str, typer.Argument(metavar="PATH", help="/3311/0/5851, or Light Control/0/Dimmer.")
]
ValueOption = Annotated[
    str | None, typer.Option("--value", help="What to write; JSON, or else a text.")
]
ArgumentsOption = Annotated[str | None, typer.Option("--arguments", help="Of execute.")]
ExpiresOption = Annotated[
    float, typer.Option("--expires", metavar="S", help="Seconds until it expires.")
]


class _CannotAsk(Exception):
    """What is missing to ask control; the text says what to do."""


@app.command("send")
def send_command(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The device.")],
    operation: OperationName,
    path: PathName,
    control: Address,
    value: ValueOption = None,
    arguments: ArgumentsOption = None,
    expires: ExpiresOption = 60.0,
    token_file: TokenFile = None,
    within: Within = 60.0,
) -> None:
    """Send a command to one device and wait for its outcome.

    Exit 0: succeeded; 1: refused, failed, expired or cancelled; 2: unknown, or no outcome yet; 3:
    anything else.
    """
    from city_platform.control.asking import request_of

    request = partial(request_of, operation, path, value, arguments, expires)
    _finish("send", control, token_file, within, endpoint, request)


@app.command("send-group")
def send_group_command(
    operation: OperationName,
    path: PathName,
    control: Address,
    group: Annotated[
        str | None, typer.Option(metavar="TENANT/GROUP", help="All devices of a group.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="All devices of a tenant.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="These; once for each.")
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Who is found: model=street_lamp; may be repeated."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="N", help="Devices per second. Default: control's.")
    ] = None,
    value: ValueOption = None,
    arguments: ArgumentsOption = None,
    expires: ExpiresOption = 60.0,
    token_file: TokenFile = None,
    within: Within = 600.0,
) -> None:
    """Send a command to a group, a tenant, a list or a search, and wait for every outcome.

    Exit 0: all succeeded; 1: some did not; 2: some are unknown, or have no outcome yet; 3: anything
    else.
    """
    from city_platform.control.asking import request_of, search_of
    from contracts.commands import CommandTarget, GroupCommandRequest

    def request() -> GroupCommandRequest:
        target = CommandTarget(
            devices=device or None,
            group=group,
            tenant=tenant,
            search=search_of(search) if search else None,
        )
        command = request_of(operation, path, value, arguments, expires)
        return GroupCommandRequest(target=target, command=command, rate_per_s=rate)

    _finish("send-group", control, token_file, within, "", request)


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


def _finish(
    verb: Verb,
    control: str,
    token_file: Path | None,
    within_s: float,
    subject: str,
    make_request: Callable[[], CommandRequest | GroupCommandRequest] | None = None,
) -> None:
    import msgspec

    from city_platform.control.asking import CannotAsk, ask, token_in
    from contracts.names import IllegalName
    from runtime.http_client import HttpError

    try:
        request = make_request() if make_request else None
        told, code = asyncio.run(
            ask(verb, control, token_in(token_file), within_s, subject, request)
        )
    except (HttpError, OSError, IllegalName, msgspec.MsgspecError, CannotAsk) as error:
        sys.stderr.write(f"lamplighter command {verb}: {error}\n")
        raise typer.Exit(EXIT_OTHER) from None
    sys.stdout.write(told)
    raise typer.Exit(code)
