"""A device's MQTT connection on the event loop: TCP, TLS and session, one attempt after another.

When to connect is the device's decision; this part does it and reports what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol, cast

from contracts.presence import PresenceCause, PresenceMessage, encode_presence
from fake_devices.device.account import BrokerAccount
from fake_devices.device.actions import OpenUplink
from fake_devices.device.outbox import Pack
from fake_devices.fleet.tls import TlsContexts
from mqtt.connection import (
    ClientConnection,
    ConnectionAccepted,
    ConnectionFailed,
    ConnectionRefused,
    Event,
    PublishAcknowledged,
    QueueFull,
    State,
)
from mqtt.packets import Connect, Will
from mqtt.tls import ClientEnd, Session, TlsFailed, UnusableCredentials

CONNECT_TIMEOUT_S: Final = 15.0
# What a broker may send a device that subscribes to nothing.
_PACKET_BYTES_MAX: Final = 65_536


class UplinkOwner(Protocol):
    """Whom an uplink tells; `number` is the device's."""

    def uplink_connected(self, number: int) -> None:
        """CONNACK 0; packs may be published."""

    def uplink_lost(self, number: int, reason: str, was_connected: bool) -> None:
        """The connection ended or could not be made. It is closed; nothing more comes of it."""

    def pack_acknowledged(self, number: int, boot: str, sequence: int) -> None:
        """The PUBACK of a pack arrived."""

    def flush_later(self, uplink: Uplink) -> None:
        """Call `uplink.flush` at the end of this turn of the loop."""

    def now(self) -> float:
        """Monotonic seconds."""


class Uplink:
    """One device's MQTT session over any number of connections."""

    __slots__ = (
        "_deadline",
        "_in_flight_max",
        "_link",
        "_number",
        "_opening",
        "_owner",
        "_packs",
        "_presence",
        "_resumable",
        "_session",
        "_was_accepted",
        "is_flush_due",
    )

    def __init__(self, number: int, owner: UplinkOwner, in_flight_max: int) -> None:
        self._number = number
        self._owner = owner
        self._in_flight_max = in_flight_max
        self._session: ClientConnection | None = None
        self._packs: dict[int, tuple[str, int]] = {}
        # The connection that is, or was last, and says when it begins and ends.
        self._presence: OpenUplink | None = None
        self._link: _Link | None = None
        self._opening: asyncio.Task[None] | None = None
        # The TLS session of the last connection, and whose it is; only between connections.
        self._resumable: tuple[BrokerAccount, Session] | None = None
        self._deadline: float | None = None
        # The session's own state is already ENDED when the broker broke the protocol.
        self._was_accepted = False
        self.is_flush_due = False

    # ---- what the fleet asks ----

    def open(self, wanted: OpenUplink, contexts: TlsContexts) -> None:
        """Begin an attempt. The answer comes through the owner, also when it fails at once."""
        account = wanted.account
        if self._session is None or wanted.renews_session:
            self._session = ClientConnection(
                account.client_id,
                clean_session=account.clean_session,
                keep_alive_s=account.keep_alive_s,
                inflight_max=self._in_flight_max,
                # A birth is besides the packs.
                queue_max=self._in_flight_max + 1,
                packet_bytes_max=_PACKET_BYTES_MAX,
            )
            self._packs.clear()
        if account.presence_topic or self._presence is not None:
            self._introduce(self._session, wanted)
        self._deadline = self._owner.now() + CONNECT_TIMEOUT_S
        session = self._take_resumable(account)
        link = self._link = _Link(self, account, contexts, session)
        self._opening = asyncio.get_running_loop().create_task(self._connect(link, account))

    def close(self) -> bool:
        """Say good-bye when connected, report nothing more; whether it was connected."""
        was_connected, self._was_accepted = self._was_accepted, False
        link, session = self._detach(), self._session
        if link is None or session is None:
            return False
        if session.state is State.CONNECTED:
            # A good-bye makes the broker drop the last will.
            self._tell_presence("good_bye")
            session.disconnect()
            link.write(session.data_to_send())
        self._end_session()
        link.close()
        self._keep_resumable(link)
        return was_connected

    def publish(self, pack: Pack) -> None:
        """Hand a pack to the session of the established connection."""
        assert self._session is not None
        packet_id = self._session.publish(pack.topic, pack.payload, pack.qos)
        if packet_id:
            self._packs[packet_id] = pack.key
        self._owner.flush_later(self)

    def next_timer(self) -> float | None:
        """When `handle_timer` is due."""
        session_at = None if self._session is None else self._session.next_timer()
        if self._deadline is None or session_at is None:
            return session_at if self._deadline is None else self._deadline
        return min(self._deadline, session_at)

    def handle_timer(self) -> None:
        """Give an attempt up that takes too long; keep the session alive."""
        now = self._owner.now()
        if self._deadline is not None and self._deadline <= now:
            self.fail(f"no connection within {CONNECT_TIMEOUT_S:g} s")
        elif self._session is not None:
            self._handle_events(self._session.handle_timer(now))
            self._owner.flush_later(self)

    def flush(self) -> None:
        """Write everything that is due in one go."""
        self.is_flush_due = False
        if self._link is not None and self._session is not None:
            self._link.write(self._session.data_to_send())

    # ---- what the link reports ----

    def link_established(self) -> None:
        """TCP and TLS are up: MQTT's turn."""
        assert self._session is not None
        self._session.connect(self._owner.now())
        self._owner.flush_later(self)

    def link_received(self, data: bytes) -> None:
        """Plain bytes came from the broker."""
        assert self._session is not None
        self._handle_events(self._session.receive_bytes(data))
        self._owner.flush_later(self)

    def fail(self, reason: str) -> None:
        """Give the current attempt or connection up and tell the owner why."""
        link = self._detach()
        if link is not None:
            was_connected, self._was_accepted = self._was_accepted, False
            self._end_session()
            link.abort()
            self._keep_resumable(link)
            self._owner.uplink_lost(self._number, reason, was_connected)

    # ---- inside ----

    async def _connect(self, link: _Link, account: BrokerAccount) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: link, account.host, account.port)
        except (OSError, UnicodeError) as error:
            # UnicodeError: what the server wrote as a host can be no name.
            if self._link is link:
                reason = error.strerror if isinstance(error, OSError) else None
                self.fail(f"cannot connect: {reason or type(error).__name__}")

    def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case PublishAcknowledged(packet_id=packet_id):
                    pack = self._packs.pop(packet_id, None)
                    if pack is not None:
                        self._owner.pack_acknowledged(self._number, *pack)
                case ConnectionAccepted():
                    assert self._session is not None
                    self._deadline = None
                    self._opening = None
                    self._was_accepted = True
                    self._session.resume()
                    self._tell_presence("birth")
                    self._owner.uplink_connected(self._number)
                case ConnectionRefused(reason=reason) | ConnectionFailed(reason=reason):
                    self.fail(reason)
                case _:
                    pass  # nothing was subscribed to: the broker's own affair

    def _introduce(self, session: ClientConnection, wanted: OpenUplink) -> None:
        """Have the broker tell the end of this connection, if the device cannot."""
        account, will = wanted.account, None
        self._presence = None
        if account.presence_topic:
            self._presence = wanted
            will = Will(account.presence_topic, _presence(wanted, "will"), qos=1)
        session.introduce_as(
            Connect(
                client_id=account.client_id,
                clean_session=account.clean_session,
                keep_alive_s=account.keep_alive_s,
                will=will,
            )
        )

    def _tell_presence(self, cause: PresenceCause) -> None:
        told, session = self._presence, self._session
        if told is None or session is None:
            return
        # A good-bye behind a full queue would only come with the next connection.
        with contextlib.suppress(QueueFull):
            session.publish(told.account.presence_topic, _presence(told, cause), 1)

    def _detach(self) -> _Link | None:
        link, self._link = self._link, None
        self._deadline = None
        if link is not None:
            link.uplink = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        return link

    def _keep_resumable(self, link: _Link) -> None:
        session = link.end_tls()
        if session is not None:
            self._resumable = (link.account, session)

    def _take_resumable(self, account: BrokerAccount) -> Session | None:
        resumable, self._resumable = self._resumable, None
        # Another account must not go on with this one's proof.
        return resumable[1] if resumable is not None and resumable[0] == account else None

    def _end_session(self) -> None:
        if self._session is not None and self._session.state is not State.DISCONNECTED:
            self._session.closed()


def _presence(told: OpenUplink, cause: PresenceCause) -> bytes:
    return encode_presence(
        PresenceMessage(
            cause=cause, boot=told.boot, connection=told.connection, began_us=told.began_us
        )
    )


class _Link(asyncio.Protocol):
    """One TCP connection with or without TLS. `uplink` is None once nobody wants to hear of it."""

    __slots__ = ("_contexts", "_pipe", "_session", "_transport", "account", "uplink")

    def __init__(
        self,
        uplink: Uplink,
        account: BrokerAccount,
        contexts: TlsContexts,
        session: Session | None,
    ) -> None:
        self.uplink: Uplink | None = uplink
        self.account = account
        self._session = session
        self._contexts = contexts
        self._pipe: ClientEnd | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        tcp = self._transport = cast(asyncio.Transport, transport)
        account, uplink = self.account, self.uplink
        session, self._session = self._session, None
        if uplink is None:
            tcp.abort()
            return
        if not account.is_secure:
            uplink.link_established()
            return
        try:
            self._pipe = self._contexts.open(
                host=account.host,
                ca=account.ca_certificate,
                certificate=account.certificate,
                key=account.secret_key,
                session=session,
            )
        except (UnusableCredentials, TlsFailed) as error:
            uplink.fail(str(error))
            return
        tcp.write(self._pipe.data_to_send())

    def data_received(self, data: bytes) -> None:
        uplink, pipe = self.uplink, self._pipe
        if uplink is None:
            return
        if pipe is None:
            uplink.link_received(data)
            return
        was_established = pipe.is_established
        try:
            plain = pipe.receive(data)
        except TlsFailed as error:
            self._write_raw()  # the alert that says why
            uplink.fail(str(error))
            return
        if not was_established:
            self._write_raw()
            if pipe.is_established:
                uplink.link_established()
        if plain:
            uplink.link_received(plain)
        if pipe.is_closed_by_peer:
            self._closed_by_broker()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is None:
            self._closed_by_broker()
        elif self.uplink is not None:
            self.uplink.fail(f"lost: {exc}")

    def write(self, plain: bytes) -> None:
        """Send plain bytes, encrypted when the link is."""
        if not plain or self._transport is None:
            return
        if self._pipe is None:
            self._transport.write(plain)
            return
        try:
            self._pipe.send(plain)
        except TlsFailed as error:
            if self.uplink is not None:
                self.uplink.fail(str(error))
            return
        self._write_raw()

    def end_tls(self) -> Session | None:
        """What a later connection may resume; after `close` or `abort`."""
        pipe, self._pipe = self._pipe, None
        return None if pipe is None else pipe.end()

    def close(self) -> None:
        """End it in order."""
        if self._pipe is not None:
            self._pipe.close()
            self._write_raw()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once; what was written before still goes out if it can."""
        if self._transport is not None:
            self._transport.close()

    def _closed_by_broker(self) -> None:
        if self.uplink is not None:
            self.uplink.fail("closed by the broker")

    def _write_raw(self) -> None:
        assert self._pipe is not None
        data = self._pipe.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
