"""`lamplighter audit`: verify a log, its archive or one archived file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from city_platform.audit.chain import ChainHead
    from city_platform.audit.verify import Verification

EXIT_CODES: Final = {"intact": 0, "broken": 1, "inconclusive": 2}
EXIT_OTHER: Final = 3

app = typer.Typer(name="audit", help="The platform's audit log.", no_args_is_help=True)


@app.callback()
def _top() -> None:
    # With one command alone, typer would leave its name out.
    pass


@app.command("verify")
def verify_command(
    path: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="The state folder, the archive, or a file.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its public key (PEM), kept elsewhere."),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="N:HASH", help="A head that was noted before; it must be in the log."),
    ] = None,
) -> None:
    """Exit 0: intact and signed; 1: altered or cut; 2: whole, and not signed; 3: anything else."""
    from city_platform.audit.signing import DamagedKey, read_public_key
    from city_platform.audit.verify import NothingToVerify, verify

    try:
        public_key = None if key is None else read_public_key(key.read_bytes())
        found = verify(path, public_key, None if expect is None else read_expected(expect))
    except (NothingToVerify, DamagedKey, OSError, ValueError) as error:
        sys.stderr.write(f"lamplighter audit verify: {error}\n")
        raise typer.Exit(EXIT_OTHER) from None
    sys.stdout.write(verification_text(found))
    raise typer.Exit(EXIT_CODES[found.verdict])


def read_expected(text: str) -> ChainHead:
    """The head in `N:HASH`. Raises `ValueError`."""
    from city_platform.audit.chain import ChainHead

    number, _, digest = text.partition(":")
    if not number.isascii() or not number.isdecimal() or len(number) > 18 or len(digest) != 64:
        raise ValueError("--expect is NUMBER:HASH, as an earlier verification printed it")
    return ChainHead(int(number), digest.lower())


def verification_text(found: Verification) -> str:
    """What was found, for people."""
    from datetime import UTC, datetime

    lines = [f"{found.verdict}: {found.entries} lines read"]
    lines += [f"  {finding.place}: {finding.text}" for finding in found.findings]
    if found.head.sequence:
        lines.append(f"head: {found.head.sequence}:{found.head.hash}")
    if found.signed_at_us is not None:
        at = datetime.fromtimestamp(min(found.signed_at_us, 253_402_300_799_000_000) // 10**6, UTC)
        lines.append(f"signed at: {at:%Y-%m-%dT%H:%M:%SZ}")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines) + "\n"
