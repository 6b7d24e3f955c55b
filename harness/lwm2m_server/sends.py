"""LwM2M Send: values that a device reports unasked, taken on `/dp` (LwM2M Core §6.4.6)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from harness.lwm2m_server.answers import Answer, refusal
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import peer_text
from harness.lwm2m_server.payloads import Payloads
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import content_formats
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectPath

ROOT: Final = "dp"
_FORMATS: Final = frozenset(
    {content_formats.SENML_JSON, content_formats.SENML_CBOR, content_formats.LWM2M_CBOR}
)
_CHANGED: Final = Response(codes.CHANGED)


class Sends:
    """Takes Send requests of registered devices and tells them as events."""

    def __init__(
        self, *, writer: TurnWriter, registrar: Registrar, payloads: Payloads, limits: ServerLimits
    ) -> None:
        self._writer = writer
        self._registrar = registrar
        self._payloads = payloads
        self._limits = limits

    def handle(self, request: Request, peer: Hashable) -> Answer:
        """Answer a request on `/dp`: 2.04, 4.00 for what cannot be read, 4.04 for who, or what, is
        not registered, 5.03 while too many events wait for the bridge. Never raises.
        """
        if len(request.path) > 1:
            return self._refuse(codes.NOT_FOUND, "unexpected_path", "only /dp is served", peer)
        if request.code != codes.POST:
            detail = "values are sent by POST"
            return self._refuse(codes.METHOD_NOT_ALLOWED, "unexpected_method", detail, peer)
        device = self._registrar.find_by_peer(peer)
        if device is None:
            detail = "this client is not registered"
            return self._refuse(codes.NOT_FOUND, "send_of_unknown_device", detail, peer)
        log = self._writer.events
        if log.newest - log.oldest >= self._limits.notifications_kept_max:
            detail = "too many events wait: send it again"
            return self._refuse(codes.SERVICE_UNAVAILABLE, "events_full", detail, peer)
        if request.content_format not in _FORMATS:
            detail = f"a Send has format 110, 112 or 11544, not {request.content_format}"
            return self._refuse(codes.BAD_REQUEST, "send_format", detail, peer)
        target = self._payloads.target(device)
        try:
            values = self._payloads.read(
                target, request.content_format, None, request.payload, self._writer.wall_s()
            )
            paths = {ObjectPath.parse(value.path).object_id for value in values}
        except LwM2mError as error:
            return self._refuse(codes.BAD_REQUEST, "malformed_send", str(error), peer)
        unknown = paths - device.objects.objects
        if unknown:
            detail = f"object {min(unknown)} is not registered"
            return self._refuse(codes.NOT_FOUND, "send_of_unknown_object", detail, peer)
        # A session newer than the one that the device registered in.
        self._registrar.move(device, peer)
        self._writer.emit(
            "send",
            device.endpoint,
            registration_id=device.registration_id,
            values=values,
        )
        return Answer(_CHANGED, device)

    def _refuse(self, code: int, reason: str, detail: str, peer: Hashable) -> Answer:
        self._writer.refuse(reason, peer_text(peer))
        return refusal(code, detail)
