"""Carries the datagrams of some peers by DTLS and those of others plainly, over one link."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from fake_devices.fleet.peers import PeerBook
from lwm2m.transport import Link
from lwm2m.transport.dtls import CredentialsOf, DtlsClientLink

Datagrams = Sequence[tuple[bytes, Hashable]]


class SecuredLink:
    """Make it, open a link with `receive_datagrams`, then `attach` both. Satisfies `Link`.

    `failed(peer, reason)`: a handshake came to nothing and what waited for it was dropped.
    """

    def __init__(
        self,
        receive: Callable[[Iterable[tuple[bytes, Hashable]]], None],
        credentials_of: CredentialsOf,
        failed: Callable[[Hashable, str], None],
    ) -> None:
        self.dtls = DtlsClientLink(receive, credentials_of, failed=failed)
        self._receive = receive
        self._book: PeerBook | None = None
        self._plain: Link | None = None

    def attach(self, link: Link, book: PeerBook) -> None:
        """Use this link; `book` says which peers are secure."""
        self._plain, self._book = link, book
        self.dtls.attach(link)

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """The callback of the link beneath."""
        secure, plain = self._split(list(datagrams))
        if secure:
            self.dtls.receive_datagrams(secure)
        if plain:
            self._receive(plain)

    def send(self, datagrams: Datagrams) -> None:
        """See `Link`."""
        secure, plain = self._split(datagrams)
        if secure:
            self.dtls.send(secure)
        if plain and self._plain is not None:
            self._plain.send(plain)

    def close(self) -> None:
        """End all sessions and close the link beneath."""
        self.dtls.close()

    def _split(self, datagrams: Datagrams) -> tuple[Datagrams, Datagrams]:
        book = self._book
        if book is None:
            return (), ()
        if book.has_one_server:
            return (datagrams, ()) if book.is_secure(datagrams[0][1]) else ((), datagrams)
        secure = [each for each in datagrams if book.is_secure(each[1])]
        return secure, [each for each in datagrams if not book.is_secure(each[1])]
