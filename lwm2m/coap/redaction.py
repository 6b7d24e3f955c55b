"""How values are shown that may carry secrets: bodies and datagrams by their size alone.

Private keys and passwords travel in payloads; a log line or a failed assertion must not show them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def shown_fields(value: msgspec.Struct, hidden: frozenset[str]) -> Iterator[tuple[str, object]]:
    """The fields of a struct, those `hidden` as the number of their bytes."""
    for name in value.__struct_fields__:
        field = getattr(value, name)
        yield name, f"<{len(field)} bytes>" if name in hidden and field is not None else field


def show(value: msgspec.Struct, hidden: frozenset[str]) -> str:
    """The text of a struct, for its `__repr__`."""
    fields = ", ".join(f"{name}={field!r}" for name, field in shown_fields(value, hidden))
    return f"{type(value).__name__}({fields})"
