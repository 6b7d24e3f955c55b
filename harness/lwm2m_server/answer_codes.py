"""Which codes are an answer to which operation (LwM2M Core §6.3, §6.4 and their tables).

A device that fails in another way has to answer 5.xx; a code that is not here breaks the standard.
"""

from __future__ import annotations

from typing import Final

from contracts.data_interface import Operation
from lwm2m.coap import codes

# The only codes that say yes.
SUCCESS: Final[dict[Operation, int]] = {
    "read": codes.CONTENT,
    "discover": codes.CONTENT,
    "write": codes.CHANGED,
    "write_attributes": codes.CHANGED,
    "execute": codes.CHANGED,
    "create": codes.CREATED,
    "delete": codes.DELETED,
    "observe": codes.CONTENT,
    "observe_composite": codes.CONTENT,
    "cancel_observation": codes.CONTENT,
    "read_composite": codes.CONTENT,
    "write_composite": codes.CHANGED,
}

_ANY: Final = frozenset(
    {codes.BAD_REQUEST, codes.UNAUTHORIZED, codes.NOT_FOUND, codes.METHOD_NOT_ALLOWED}
)
_READING: Final = _ANY | {codes.NOT_ACCEPTABLE}
# RFC 7959 §2.9: the last two are of any payload that goes in blocks.
_WRITING: Final = _ANY | {
    codes.NOT_ACCEPTABLE,
    codes.UNSUPPORTED_CONTENT_FORMAT,
    codes.REQUEST_ENTITY_INCOMPLETE,
    codes.REQUEST_ENTITY_TOO_LARGE,
}
_READING_SEVERAL: Final = _READING | {
    codes.UNSUPPORTED_CONTENT_FORMAT,
    codes.REQUEST_ENTITY_INCOMPLETE,
    codes.REQUEST_ENTITY_TOO_LARGE,
}

# The codes that say no, apart from 5.xx.
REFUSALS: Final[dict[Operation, frozenset[int]]] = {
    "read": _READING,
    "discover": _ANY,
    "write": _WRITING,
    "write_attributes": _ANY,
    "execute": _ANY,
    "create": _WRITING,
    "delete": _ANY,
    "observe": _READING,
    "observe_composite": _READING_SEVERAL,
    "cancel_observation": _READING_SEVERAL,
    "read_composite": _READING_SEVERAL,
    "write_composite": _WRITING,
}


def is_legal(operation: Operation, code: int) -> bool:
    """Whether the standard knows `code` as an answer to `operation`."""
    return code == SUCCESS[operation] or code in REFUSALS[operation] or code >> 5 == 5
