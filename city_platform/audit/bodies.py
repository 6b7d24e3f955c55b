"""The bodies of audit's HTTP interface (JSON; errors are RFC 9457 problems)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, get_args

import msgspec

from city_platform.audit.entries import AuditEntry, AuditOutcome
from city_platform.stores.audit_log import AuditQuery, FoundEntry

TIME_MAX_US: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_TEXTS: Final = ("who", "device", "operation", "outcome", "reference", "source")
_NUMBERS: Final = ("from_us", "to_us", "before", "limit")
_TEXT_LENGTH_MAX: Final = 256


class WrongQuery(ValueError):
    """A search cannot be understood; the text names the parameter and what it may be."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as a search shows it.

    `attributed_to` is who asked a component's interface for what a topic told of; empty when
    nobody did. `hash` is the line's, to be compared with the archive.
    """

    sequence: int
    entry: AuditEntry
    attributed_to: str
    hash: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, newest first; `next_before` continues, and is None at the end."""

    entries: list[AuditRecord]
    next_before: int | None = None


def read_query(given: Mapping[str, str], tenants: Collection[str] | None) -> AuditQuery:
    """The search that a URL's query asks for, among the caller's tenants. Raises `WrongQuery`.

    Tenants that are not the caller's are not found: a search for them finds nothing.
    """
    known = (*_TEXTS, *_NUMBERS, "tenant", "attributed")
    for name in given:
        if name not in known:
            raise WrongQuery(f"{name[:40]!r} is no parameter; there are {', '.join(sorted(known))}")
    numbers: dict[str, Any] = {
        name: _number(name, given[name]) for name in _NUMBERS if name in given
    }
    texts: dict[str, Any] = {
        name: _text(name, given[name]) for name in (*_TEXTS, "tenant") if name in given
    }
    asked = texts.pop("tenant", None)
    if (outcome := texts.get("outcome")) is not None and outcome not in get_args(AuditOutcome):
        raise WrongQuery(f"outcome is one of {', '.join(get_args(AuditOutcome))}")
    return AuditQuery(
        **texts,
        **numbers,
        tenants=_narrowed(asked, tenants),
        is_attributed=_yes_or_no(given.get("attributed")),
    )


def page_of(found: list[FoundEntry], limit: int) -> AuditPage:
    """A page of what was found with one more entry than `limit`."""
    shown = [
        AuditRecord(
            sequence=one.sequence, entry=one.entry, attributed_to=one.attributed_to,
            hash=one.line[-66:-2].decode("ascii"),
        )
        for one in found[:limit]
    ]  # fmt: skip
    return AuditPage(entries=shown, next_before=shown[-1].sequence if len(found) > limit else None)


def _narrowed(asked: str | None, own: Collection[str] | None) -> Collection[str] | None:
    if asked is None:
        return own
    return (asked,) if own is None or asked in own else ()


def _number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise WrongQuery(f"{name} is a whole number")
    return int(text)


def _text(name: str, text: str) -> str:
    if len(text) > _TEXT_LENGTH_MAX or not text.isprintable():
        raise WrongQuery(f"{name} has at most {_TEXT_LENGTH_MAX} characters, all printable")
    return text


def _yes_or_no(text: str | None) -> bool | None:
    if text is None:
        return None
    if text not in ("true", "false"):
        raise WrongQuery("attributed is true or false")
    return text == "true"
