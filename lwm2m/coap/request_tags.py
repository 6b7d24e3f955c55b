"""When a body that goes out in blocks needs a Request-Tag (RFC 9175 §3).

A server puts blocks together by peer and request alone. Two bodies to the same target, at the same
time or after one was broken off, could be mixed: then the later one gets a tag of its own. The
server's side of it is the key of `lwm2m.coap.transfers`.
"""

from __future__ import annotations

from lwm2m.coap import options as opt
from lwm2m.coap.options import encode_uint
from lwm2m.coap.peers import Asking, Peer
from lwm2m.coap.requests import Request, find_option, with_option
from lwm2m.coap.sent_request import SentRequest
from lwm2m.coap.transfers import upload_key

_FOR_EVER = float("inf")
_KEYS_MAX = 32


def tag_if_confusable(
    peer: Peer, request: Request, tag: int, block_size: int, now: float
) -> Request:
    """The request, with `tag` when blocks of another could be taken for its own.

    `tag` is a number not used before.
    """
    if find_option(request.options, opt.REQUEST_TAG) is not None:
        return request
    key = upload_key(request)
    if len(request.payload) <= block_size:
        # Only the answer may come in blocks: it depends on the body, which its key leaves out.
        others = (peer.open or {}).values()
        confusable = any(other.request.payload != request.payload
                         and upload_key(other.request) == key for other in others)  # fmt: skip
        return _tagged(request, tag) if confusable else request
    asking = peer.asked()
    if asking.uploads.get(key, 0.0) > now or not _make_room(asking, now):
        return _tagged(request, tag)
    asking.uploads[key] = _FOR_EVER
    return request


def note_upload_end(sent: SentRequest, *, answered: bool, free_at: float) -> None:
    """A body has been answered, or was broken off: its blocks may be under way until `free_at`."""
    asking = sent.peer.asking
    if asking is None or not asking.uploads:
        return
    key = upload_key(sent.request)
    if asking.uploads.get(key) != _FOR_EVER:
        return
    if answered:
        del asking.uploads[key]
        if asking.is_idle():
            # What is sent to this peer from now on may go the short way again.
            sent.peer.asking = None
    else:
        asking.uploads[key] = free_at


def _make_room(asking: Asking, now: float) -> bool:
    if len(asking.uploads) >= _KEYS_MAX:
        for key in [key for key, free_at in asking.uploads.items() if free_at <= now]:
            del asking.uploads[key]
    return len(asking.uploads) < _KEYS_MAX


def _tagged(request: Request, tag: int) -> Request:
    return with_option(request, opt.REQUEST_TAG, encode_uint(tag & ((1 << 64) - 1)))
