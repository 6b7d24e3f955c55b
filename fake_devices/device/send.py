"""Send: what a device tells its server unasked (LwM2M Core §6.4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fake_devices.device.composite import composite_nodes
from fake_devices.device.downlink_read import speaks
from fake_devices.device.downlink_target import Caller
from fake_devices.device.tree import ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request
from lwm2m.codecs import TimedNode, content_formats, encode_timed
from lwm2m.errors import UnsupportedContentFormat
from lwm2m.objects import ObjectPath
from lwm2m.reporting import UNCONTROLLED, AccessContext, server_defaults

SEND_PATH: Final = ("dp",)
SEND_FORMATS: Final = frozenset(
    {content_formats.SENML_JSON, content_formats.SENML_CBOR, content_formats.LWM2M_CBOR}
)


def is_send_muted(tree: ObjectTree, short_server_id: int) -> bool:
    """Whether /1/x/23 forbids Send to this server, as it does when it is absent."""
    return server_defaults(short_server_id, tree.instances, tree).send_is_muted


def readings_of(
    tree: ObjectTree,
    paths: Iterable[ObjectPath | None],
    unix_s: float | None = None,
    access: AccessContext = UNCONTROLLED,
) -> list[TimedNode]:
    """The present values at these paths, stamped with `unix_s`; what is missing, executable or not
    for this server is left out."""
    caller = Caller.of(tree, access)
    # What is refused as a whole is nothing to send.
    found = composite_nodes(caller, paths, refuses=False)
    return [TimedNode(path, value, unix_s) for path, value in found]


def encode_send(tree: ObjectTree, readings: Sequence[TimedNode], content_format: int) -> bytes:
    """The payload of a Send: readings of one or more times. LwM2M CBOR tells no times, and so takes
    one reading of a path.

    Raises `UnsupportedContentFormat` for a format that Send, or this LwM2M version, has not,
    `IllegalPath` for a path twice where no times are told, and `InvalidValue`.
    """
    if content_format not in SEND_FORMATS or not speaks(tree, content_format):
        raise UnsupportedContentFormat(content_format)
    return encode_timed(content_format, None, readings, tree.template.models)


def send_request(
    tree: ObjectTree,
    readings: Sequence[TimedNode],
    content_format: int = content_formats.SENML_CBOR,
    *,
    confirmable: bool = True,
) -> Request:
    """The POST that sends `readings`. Raises as `encode_send`."""
    return Request(
        codes.POST,
        SEND_PATH,
        content_format=content_format,
        payload=encode_send(tree, readings, content_format),
        confirmable=confirmable,
    )
