"""Certificates after their first issue: renewed before they expire, replaced when asked, revoked.

Order of a replacement: the credentials file first, then the thing with its new certificate, then
what became of the old one, then the bootstrap handler is told. A kill in between leaves a device
that is due for a replacement still, and is replaced again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.provisioning.certificates import Issued
from city_platform.provisioning.credentials import credentials_version
from city_platform.provisioning.csr import certified_key
from city_platform.provisioning.importing import Stores
from city_platform.provisioning.revocations import PUBLISH_AGAIN_S, Revocations
from city_platform.provisioning.rollover import AuthorityFiles
from city_platform.stores.certificate_register import CertificateQuery, CertificateRecord
from city_platform.stores.object_store import NewObject, credentials_name, withheld_name
from city_platform.stores.thing_registry import Certificate, Thing
from contracts.api import CertificateState, RevocationReason
from contracts.credentials import CredentialsDocument, decode_document
from contracts.errors import ContractError

BATCH_THINGS: Final = 128
PAGE_THINGS: Final = 1_000
LOOK_EVERY_S: Final = 3_600.0

_log = logging.getLogger(__name__)


class NoSuchDevice(KeyError):
    """No thing has this name."""


class NoSuchCertificate(KeyError):
    """No certificate has this digest."""


class KeepsItsKey(Exception):
    """The device has its private key to itself: it must ask with a signing request."""


class CertificateLifecycle:
    """All that is done to certificates after the import. `turn` is held by whoever writes things:
    an import holds it as long as it runs; a revocation waits for nobody. `superseded` is called
    when certificates were replaced, whose overlap begins."""

    def __init__(
        self,
        stores: Stores,
        authorities: AuthorityFiles,
        revocations: Revocations,
        *,
        lifetime: timedelta,
        renew_before: timedelta,
        overlap: timedelta,
        wall_us: Callable[[], int],
        draw: Callable[[int], bytes],
        renewed: Callable[[Iterable[str]], None],
        turn: asyncio.Lock,
        superseded: Callable[[], None] = lambda: None,
        hears_confirmations: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stores = stores
        self._register = stores.things.register
        self._authorities = authorities
        self._revocations = revocations
        self._lifetime = lifetime
        self._renew_before_us = int(renew_before.total_seconds() * 1e6)
        self._overlap_us = int(overlap.total_seconds() * 1e6)
        self._wall_us = wall_us
        self._draw = draw
        self._renewed = renewed
        self._turn = turn
        self._superseded = superseded
        self._hears_confirmations = hears_confirmations
        self._wanted = asyncio.Event()

    # ---- asked for by somebody ----

    async def replace(
        self, endpoint: str, public: ec.EllipticCurvePublicKey | None = None
    ) -> Certificate:
        """Another certificate for one device at once; for a key of its own when `public` is given.

        The one before stays valid for the overlap, unless it was revoked. Raises `NoSuchDevice`
        and `KeepsItsKey`.
        """
        async with self._turn:
            thing = (await self._stores.things.get([endpoint])).get(endpoint)
            if thing is None:
                raise NoSuchDevice(endpoint)
            found = await self._document(thing)
            if found is None:
                raise NoSuchDevice(endpoint)
            document, is_withheld = found
            if public is None and not document.broker.secret_key and not is_withheld:
                raise KeepsItsKey(endpoint)
            made = self._make(thing, document, public)
            await self._store([made])
        return made[0].certificate

    async def revoke(self, sha256: str, reason: RevocationReason) -> CertificateRecord:
        """Revoke one certificate; the list is published before this returns.

        When it is its device's own, the credentials are withheld: the device gets nothing until it
        is given another certificate. Raises `NoSuchCertificate` and
        `ImpossibleCertificateEvent`; one that is revoked already stays as it is.
        """
        found = await self._find(sha256)
        if found.state != "revoked":
            await self._register.tell([sha256], "revoked", self._wall_us(), reason)
        await self.publish()
        if found.state == "active":
            await self._withhold(found.thing)
        return await self._find(sha256)

    async def rotate(self, endpoints: Sequence[str]) -> None:
        """These are to get another certificate, as soon as it is their turn."""
        await self._register.add_rotations(endpoints)
        self._wanted.set()

    async def devices_of_previous(self) -> int:
        """How many devices need the authority before: theirs is its certificate; or was, and they
        are not known to have what replaced it, where that can be known."""
        if self._authorities.state != "new_signs":
            return 0
        needing = {name async for page in self._pages(self._is_of_another) for name in page}
        query = CertificateQuery(state="superseded", limit=PAGE_THINGS)
        while self._hears_confirmations() and (page := await self._register.certificates(query)):
            needing |= {found.thing for found in page if self._is_signed_by_another(found.der)}
            query = msgspec.structs.replace(query, after=page[-1].sha256)
        return len(needing)

    async def publish(self) -> None:
        """Publish the list of revoked certificates."""
        await self._revocations.publish(self._wall_us())

    async def end_overlap(self, sha256s: Sequence[str]) -> None:
        """Revoke what was superseded and is not needed any more, and publish that."""
        await self._register.tell(sha256s, "revoked", self._wall_us(), "superseded")
        await self.publish()

    # ---- by itself ----

    async def run(self) -> None:
        """Renew, replace and revoke what is due until cancelled."""
        published_us = 0
        while True:
            now_us = self._wall_us()
            if now_us - published_us >= PUBLISH_AGAIN_S * 1e6:
                await self.publish()
                published_us = now_us
            try:
                await self.do_what_is_due()
            except Exception:
                # A task's boundary: what is due stays due and is tried again.
                _log.exception("certificates could not be renewed, again in an hour")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            self._wanted.clear()

    async def do_what_is_due(self) -> None:
        """One look at everything: expiry, overlap, rotations and a rollover's old certificates."""
        now_us = self._wall_us()
        await self._expire(now_us)
        await self._end_overlaps(now_us)
        soon_us = now_us + self._renew_before_us
        async for names in self._pages(lambda thing: thing.certificate.expires_at_us < soon_us):
            await self._register.add_rotations(names)
        if self._authorities.state == "new_signs":
            async for names in self._pages(self._is_of_another):
                await self._register.add_rotations(names)
        while names := await self._register.rotations(BATCH_THINGS):
            await self._replace_all(names)
            await self._register.end_rotations(names)

    # ---- inside ----

    async def _replace_all(self, names: Sequence[str]) -> None:
        async with self._turn:
            made = []
            for thing in (await self._stores.things.get(names)).values():
                document, is_withheld = await self._document(thing) or (None, True)
                if document is None or is_withheld:
                    # It was revoked: somebody has to ask.
                    _log.warning("the certificate of %s is not renewed by itself", thing.name)
                    continue
                # Who keeps its key gets another certificate for the same one.
                keeps_key = not document.broker.secret_key
                public = certified_key(thing.certificate.der) if keeps_key else None
                made.append(self._make(thing, document, public))
            await self._store(made)

    async def _document(self, thing: Thing) -> tuple[CredentialsDocument, bool] | None:
        """The device's credentials, and whether they are withheld; None when there are none."""
        names = [credentials_name(thing.name), withheld_name(thing.name)]
        for name, data in zip(names, await self._stores.objects.get_many(names), strict=True):
            with contextlib.suppress(ContractError):
                if data:
                    return decode_document(data), name == names[1]
        return None

    async def _withhold(self, endpoint: str) -> None:
        """Take the credentials from where the bootstrap handler finds them, without their key."""
        (data,) = await self._stores.objects.get_many([credentials_name(endpoint)])
        with contextlib.suppress(ContractError):
            document = decode_document(data or b"")
            broker = msgspec.structs.replace(document.broker, secret_key=b"")
            kept = msgspec.json.encode(msgspec.structs.replace(document, broker=broker))
            await self._stores.objects.put(
                [NewObject(withheld_name(endpoint), kept, owner_only=True)], sync=True
            )
        await self._stores.objects.delete(credentials_name(endpoint))

    async def _find(self, sha256: str) -> CertificateRecord:
        found = await self._register.certificate(sha256)
        if found is None:
            raise NoSuchCertificate(sha256)
        return found

    async def _pages(self, wanted: Callable[[Thing], bool]) -> AsyncIterator[list[str]]:
        """The names of all things that are `wanted`, a page at a time."""
        after = ""
        while names := await self._stores.things.names(after, PAGE_THINGS):
            after = names[-1]
            things = await self._stores.things.get(names)
            found = [name for name in names if name in things and wanted(things[name])]
            if found:
                yield found

    def _is_of_another(self, thing: Thing) -> bool:
        return self._is_signed_by_another(thing.certificate.der)

    def _is_signed_by_another(self, der: bytes) -> bool:
        return not self._authorities.is_of_signing(x509.load_der_x509_certificate(der))

    def _make(
        self,
        thing: Thing,
        document: CredentialsDocument,
        public: ec.EllipticCurvePublicKey | None,
    ) -> tuple[Thing, bytes, str]:
        """The thing with another certificate, its document, and the digest of the one before."""
        signing = self._authorities.signing
        issuer = signing.for_devices(self._wall_us(), self._lifetime)
        issued: Issued = (
            issuer.issue(thing.name) if public is None else issuer.issue_for(thing.name, public)
        )
        certificate = Certificate(
            sha256=hashlib.sha256(issued.certificate).hexdigest(),
            der=issued.certificate,
            made_for=thing.certificate.made_for,
            expires_at_us=issued.expires_at_us,
        )
        broker = msgspec.structs.replace(
            document.broker,
            certificate=issued.certificate,
            secret_key=issued.key,
            ca_certificate=signing.der,
        )
        version = credentials_version(issued.certificate)
        document = msgspec.structs.replace(document, broker=broker, version=version)
        return (
            msgspec.structs.replace(thing, certificate=certificate),
            msgspec.json.encode(document),
            thing.certificate.sha256,
        )

    async def _store(self, made: Sequence[tuple[Thing, bytes, str]]) -> None:
        if not made:
            return
        await self._stores.objects.put(
            NewObject(credentials_name(thing.name), document, owner_only=True)
            for thing, document, _ in made
        )
        await self._stores.things.put([thing for thing, _, _ in made])
        await self._register.note_superseded([before for _, _, before in made], self._wall_us())
        for thing, _, _ in made:
            await self._stores.objects.delete(withheld_name(thing.name))
        self._renewed([thing.name for thing, _, _ in made])
        self._superseded()

    async def _expire(self, now_us: int) -> None:
        states: tuple[CertificateState, ...] = ("active", "superseded")
        for state in states:
            query = CertificateQuery(state=state, expires_before_us=now_us, limit=1_000)
            while page := await self._register.certificates(query):
                await self._register.tell(
                    [found.sha256 for found in page], "lifetime_elapsed", now_us
                )

    async def _end_overlaps(self, now_us: int) -> None:
        """Revoke what was superseded long enough ago. What an import superseded begins its overlap
        when it is first seen here."""
        unseen = CertificateQuery(state="superseded", since_before_us=1, limit=1_000)
        while page := await self._register.certificates(unseen):
            await self._register.note_superseded([found.sha256 for found in page], now_us)
        over = CertificateQuery(
            state="superseded", since_before_us=now_us - self._overlap_us, limit=1_000
        )
        any_revoked = False
        while page := await self._register.certificates(over):
            digests = [found.sha256 for found in page]
            await self._register.tell(digests, "revoked", now_us, "superseded")
            any_revoked = True
        if any_revoked:
            await self.publish()
