"""What a bridge writes to a device, done by its own procedure at somebody else's client."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from city_platform.bridge.procedure import CredentialsProcedure, Progress, publication_values
from city_platform.bridge.registry import Held, Links
from contracts.credentials import CredentialsDocument, decode_document
from tests.city_platform.bridge.server_side import document
from tests.interop.ours import triples
from tests.interop.pairs import LeshanAtServer

BROKER: Final = "/18830/0"
PUBLICATIONS: Final = "/18831"
_TRIES_MAX: Final = 3


def credentials_at_once(pair: LeshanAtServer, _: int | None, told: list[Any]) -> None:
    """A device without publications gets them all in one Create, active."""
    done = _write_credentials(pair)
    assert done == [("create", BROKER, "2.01"), ("create", PUBLICATIONS, "2.01")]


def credentials_one_by_one(pair: LeshanAtServer, _: int | None, told: list[Any]) -> None:
    """One of them is there, which the bridge does not know: the Create is refused, and each is
    written alone."""
    first = f"{PUBLICATIONS}/0"
    there = publication_values(_content(pair).publications[0])
    outcome = pair.command("create", path=first, values=msgspec.to_builtins(there))
    assert outcome.code == "2.01", outcome
    assert _write_credentials(pair) == [
        ("create", BROKER, "2.01"),
        ("create", PUBLICATIONS, "4.00"),
        ("create", first, "4.00"),
        ("write", first, "2.04"),
        ("create", f"{PUBLICATIONS}/1", "2.01"),
        ("write_composite", "", "2.04"),
    ]


def _write_credentials(pair: LeshanAtServer) -> list[tuple[str, str, str | None]]:
    """What the procedure had done at a device of which it knows no instance, in order: operation,
    path and code. The device has the credentials then, and none when this returns."""
    content = _content(pair)
    held = Held("r1", Links(b"[]"), may_take_composites=True)
    procedure = CredentialsProcedure("server-1", "r1", content, held, _TRIES_MAX, window=0)
    done: list[tuple[str, str, str | None]] = []
    while procedure.progress is Progress.RUNNING:
        command = procedure.command(0)
        fields = {name: getattr(command, name) for name in ("path", "values", "mode")}
        outcome = pair.command(command.operation, **msgspec.to_builtins(fields))
        done.append((command.operation, command.path or "", outcome.code))
        procedure.handle_outcome(outcome, is_stored=False)
    assert procedure.progress is Progress.COMPLETED, done
    _check_written(pair, content)
    for path in (BROKER, f"{PUBLICATIONS}/0", f"{PUBLICATIONS}/1"):
        assert pair.command("delete", path=path).code == "2.02"
    return done


def _check_written(pair: LeshanAtServer, content: CredentialsDocument) -> None:
    values = triples(pair.command("read", path=PUBLICATIONS).values)
    found = {path: value for path, _, value in values}
    for publication in content.publications:
        path = f"{PUBLICATIONS}/{publication.instance}"
        assert (found[f"{path}/2"], found[f"{path}/5"]) == (publication.topic, True)


def _content(pair: LeshanAtServer) -> CredentialsDocument:
    return decode_document(document(pair.endpoint, instances=(0, 1)))
