"""TLS between a TCP transport of the loop and a protocol: one object a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from mqtt.tls import Certificate, TlsEnd, TlsFailed

# How long one that has said good-bye listens for the other's, so that what it wrote is not lost by
# a reset that answers what still comes; and how long the other may take to read what was written.
LINGER_S: Final = 2.0
# Why there is no session: `TlsFailed`, `TimeoutError`, or what TCP was lost by.
Failure = TlsFailed | OSError
_CLOSED: Final = "TLS handshake failed: closed by the other side"
# Whom a connection tells that is gone: with the inner protocol in it, which knows its transport,
# it and all that OpenSSL has of it would wait for the collector's last generation.
_NOBODY: Final = asyncio.Protocol()


class SecuredConnection(asyncio.Protocol, asyncio.Transport):
    """The loop's TCP transport sees a protocol in it, the inner protocol a transport.

    The inner protocol hears of the connection once TLS is established, or never; then `failed` is
    called with the reason, once. `handshake_within_s` bounds the time until then. Nothing is kept
    but what OpenSSL has of a record, or a message of the handshake, that is not whole, and what the
    TCP transport buffers: back-pressure is its own.

    `get_extra_info("peer_certificate")` is the other side's `Certificate`.
    """

    __slots__ = (
        "_failed",
        "_flaw",
        "_has_begun",
        "_inner",
        "_is_closing",
        "_loop",
        "_tcp",
        "_timer",
        "_tls",
    )

    def __init__(
        self,
        tls: TlsEnd,
        inner: asyncio.BaseProtocol,
        handshake_within_s: float,
        failed: Callable[[Failure], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._tls = tls
        # Its kind is asked for by nobody: it has a protocol's methods, or a test's part of them.
        self._inner = cast(asyncio.Protocol, inner)
        self._failed = failed
        self._tcp: asyncio.Transport | None = None
        self._has_begun = self._is_closing = False
        self._flaw: TlsFailed | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(handshake_within_s, self._give_up_waiting)

    # ---- what the TCP transport tells ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is there."""
        # uvloop's transports are no subclasses of asyncio's.
        self._tcp = cast(asyncio.Transport, transport)
        if self._is_closing:  # who was given up before TCP was there
            self._tcp.abort()
            return
        self._write_out()  # a client speaks first

    def data_received(self, data: bytes) -> None:
        """Bytes of TLS arrived."""
        tls = self._tls
        try:
            plain = tls.receive(data)
        except TlsFailed as error:
            self._write_out()  # the alert that says why
            self._give_up(error)
            return
        if not plain or not self._has_begun:
            self._write_out()
            if not self._has_begun and tls.is_established and not self._is_closing:
                self._begin()
        # What comes after the own good-bye is for nobody.
        if plain and not self._is_closing:
            self._inner.data_received(plain)
        if tls.is_closed_by_peer:
            self._ended_by_peer()

    def eof_received(self) -> None:
        """The other side will send no more, with its good-bye or without."""
        self._ended_by_peer()

    def pause_writing(self) -> None:
        """The other side does not read."""
        if self._has_begun:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._has_begun:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """TCP is gone."""
        self._timer.cancel()
        self._tcp = None
        if not self._has_begun:
            self._fail(exc if isinstance(exc, OSError) else TlsFailed(_CLOSED))
        self._is_closing = True
        inner, self._inner = self._inner, _NOBODY
        flaw, self._flaw = self._flaw, None  # its traceback leads back to here
        if self._has_begun:
            inner.connection_lost(exc or flaw)

    # ---- what the inner protocol asks ----

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`; `peer_certificate` is TLS's."""
        if name == "peer_certificate":
            found: Certificate | None = self._tls.peer_certificate()
            return default if found is None else found
        return default if self._tcp is None else self._tcp.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._is_closing or not data:
            return
        try:
            self._tls.send(bytes(data))
        except TlsFailed as error:
            self._give_up(error)
        else:
            self._write_out()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """The same for many."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """TLS's half-close ends reading, too: there is none here."""
        return False

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._is_closing

    def close(self) -> None:
        """Say good-bye behind what was written; close when the other side has, or in a while."""
        if self._is_closing:
            return
        self._is_closing = True
        self._tls.close()
        self._write_out()
        if not self._has_begun or self._tls.is_closed_by_peer:
            self._end_tcp()
        elif self._tcp is not None:
            self._timer = self._loop.call_later(LINGER_S, self.abort)
            if not self._tcp.is_closing():
                # Who stood still reads on, or it would not hear the other's good-bye.
                self._tcp.resume_reading()

    def abort(self) -> None:
        """Cut it at once."""
        self._is_closing = True
        if self._tcp is not None:
            self._tcp.abort()
        else:
            self._timer.cancel()

    def pause_reading(self) -> None:
        """Read no more."""
        if self._tcp is not None and not self._is_closing:
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._tcp is not None and not self._is_closing:
            self._tcp.resume_reading()

    def is_reading(self) -> bool:
        """Whether it reads."""
        return self._tcp is not None and self._tcp.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the TCP transport's buffer, whose bytes are encrypted."""
        if self._tcp is not None:
            self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that wait."""
        return 0 if self._tcp is None else self._tcp.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol goes on."""
        self._inner = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The inner protocol; this one before TLS is established."""
        return self._inner

    # ---- inside ----

    def _begin(self) -> None:
        self._timer.cancel()
        self._has_begun = True
        self._inner.connection_made(self)

    def _ended_by_peer(self) -> None:
        if not self._has_begun:
            self._fail(TlsFailed(_CLOSED))
        elif not self._is_closing:
            self._inner.eof_received()
            self.close()
        self._end_tcp()

    def _fail(self, error: Failure) -> None:
        """The handshake has come to nothing."""
        if not self._is_closing:
            self._failed(error)
        self._is_closing = True

    def _give_up(self, error: TlsFailed) -> None:
        self._flaw = error
        if not self._has_begun:
            self._fail(error)
        # Behind a broken record there is nothing to say good-bye to.
        self._is_closing = True
        self._end_tcp()

    def _give_up_waiting(self) -> None:
        self._fail(TimeoutError("no TLS session within the time for it"))
        self.abort()

    def _end_tcp(self) -> None:
        self._timer.cancel()
        if self._tcp is not None:
            self._tcp.close()
            # Who reads nothing would keep what is buffered for it.
            self._timer = self._loop.call_later(LINGER_S, self.abort)

    def _write_out(self) -> None:
        data = self._tls.data_to_send()
        if data and self._tcp is not None:
            self._tcp.write(data)
