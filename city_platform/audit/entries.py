"""One entry of the audit log: who did what to what, when, and how it ended."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

AuditOutcome = Literal[
    "published",  # a command was seen on its topic; its end is an entry of its own
    "succeeded",
    "refused",  # by whom it was asked of: a wrong password, an invalid request, a device's 4.xx
    "denied",  # who asked may not do it
    "failed",  # the platform failed
    "expired",
    "unknown",  # nobody can know: a process was killed, a device did not answer
]

DETAIL_LENGTH_MAX: Final = 512
ENTRIES_MAX: Final = 1_000

_Name = Annotated[str, msgspec.Meta(max_length=256)]
_Detail = Annotated[str, msgspec.Meta(max_length=DETAIL_LENGTH_MAX)]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one act. An entry with an `id` that was kept before is not kept again.

    `at_us` is Unix time. `who` is empty where nobody is known; of a command from a topic it is what
    the command says, which only an entry of the same `reference` from the control API proves.
    `reference` is the command's, job's or user's id; `source` the component that saw it.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    at_us: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    operation: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    outcome: AuditOutcome
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    who: _Name = ""
    tenant: _Name = ""
    device: _Name = ""
    reference: _Name = ""
    detail: _Detail = ""


class MalformedEntries(ValueError):
    """A body is no list of entries; the text says where and what is expected."""


_entries: msgspec.json.Decoder[list[AuditEntry]] = msgspec.json.Decoder(
    Annotated[list[AuditEntry], msgspec.Meta(max_length=ENTRIES_MAX)]
)


def read_entries(body: bytes) -> list[AuditEntry]:
    """The entries in a JSON list. Raises `MalformedEntries`."""
    try:
        return _entries.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEntries(f"expected a list of audit entries: {error}") from None


def shortened(text: str, length_max: int = DETAIL_LENGTH_MAX) -> str:
    """`text`, with an ellipsis where it is too long, and nothing that JSON cannot say."""
    whole = text if text.isascii() else text.encode(errors="replace").decode()
    return whole if len(whole) <= length_max else f"{whole[: length_max - 1]}…"
