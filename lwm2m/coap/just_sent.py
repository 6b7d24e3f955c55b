"""Requests of ours that went the short way: which may, and when the oldest has waited too long."""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from lwm2m.coap import codes
from lwm2m.coap.blocks import BLOCK_SIZES
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.plain import TOKEN_BYTES_MAX
from lwm2m.coap.sent_request import SentRequest
from lwm2m.coap.states import SENT_TRANSITIONS

_ENDED_KEPT_MAX = 1_000
_SAFE = (codes.GET, codes.FETCH)
_IS_OUT = SENT_TRANSITIONS["queued"]["transmitted"]

# When it went out, its message id, and whose it is: of a body in blocks there is one for each.
SentMessage = tuple[float, int, SentRequest]


class JustSent:
    """Messages of requests that went the short way, in order of time: nearly all are answered
    within the shortest wait and need no timer of their own. What has ended stays until it is first.
    """

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages: deque[SentMessage] = deque()

    def oldest(self, open_count: int) -> SentMessage | None:
        """The oldest that is out; `open_count` requests are open, with those of the general way."""
        messages = self.messages
        while messages and not _is_just_sent(messages[0]):
            messages.popleft()
        if len(messages) > _ENDED_KEPT_MAX + 2 * open_count:
            # Behind one that is not answered, others have ended.
            kept = list(filter(_is_just_sent, messages))
            messages.clear()
            messages.extend(kept)
        return messages[0] if messages else None


def general_methods(parameters: TransmissionParameters) -> Container[int]:
    """The methods that do not go the short way: their request may have to say something of blocks
    even when it is in one message; with extended tokens none does."""
    if parameters.token_bytes > TOKEN_BYTES_MAX:
        return range(0x100)
    return (codes.FETCH,) if parameters.block_size == BLOCK_SIZES[-1] else _SAFE


def _is_just_sent(message: SentMessage) -> bool:
    """Whether it is out, and was never on the wheel."""
    _, message_id, sent = message
    return sent.tick == 0 and sent.state == _IS_OUT and sent.message_id == message_id
