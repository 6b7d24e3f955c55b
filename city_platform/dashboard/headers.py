"""The headers of every answer: nothing from elsewhere, nothing in frames, nothing kept."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        # The map decodes its data in a worker; where its build has no file for it, from a blob.
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS: Final[tuple[tuple[str, str], ...]] = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)
# RFC 6797: a year, as browsers' own lists ask for.
_TRANSPORT_SECURITY: Final = ("Strict-Transport-Security", "max-age=31536000")


class Hardened:
    """Puts the headers on all answers; `Cache-Control` where an answer has none."""

    def __init__(self, app: ASGIApp, is_secure: bool) -> None:
        self._app = app
        self._headers = SECURITY_HEADERS + ((_TRANSPORT_SECURITY,) if is_secure else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        is_read = scope["type"] != "http" or scope["method"] in ("GET", "HEAD")

        async def receive_watched() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers:
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if not is_read:
                    # Who is refused while still sending would otherwise be read from for ever.
                    headers["Connection"] = "close"
            await send(message)

        await self._app(scope, receive_watched, send_hardened)
