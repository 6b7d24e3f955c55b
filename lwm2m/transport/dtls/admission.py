"""Who a client is once its handshake is complete, and whether it may come in.

For a resumed session the same is asked again: an identity that was withdrawn, a key that was
changed or a certificate that has expired since does not come in by an old ticket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from lwm2m.transport.dtls.certificates import is_valid_at, read_certificate
from lwm2m.transport.dtls.contexts import PskAnswer, ServerContext, set_verification_time
from lwm2m.transport.dtls.failures import ACCESS_DENIED, BAD_CERTIFICATE, CERTIFICATE_EXPIRED
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.openssl_handshake import OpensslHandshake
from lwm2m.transport.dtls.resumption import psk_identity_of
from lwm2m.transport.peers import PeerSecurity


class Admitted(msgspec.Struct, frozen=True):
    """A client that may come in, and the endpoint that its credential is bound to."""

    security: PeerSecurity
    endpoint_name: str | None


class Refusal(msgspec.Struct, frozen=True):
    """A client that may not, and the alert that it gets."""

    reason: str
    alert: int


class Admission:
    """What is known of those who were let in before. `identities_max` bounds it."""

    def __init__(
        self,
        context: ServerContext,
        identities_max: int,
        unix_time_s: Callable[[], float] | None,
    ) -> None:
        self.context = context
        self.unix_time_s = unix_time_s
        self._identities_max = identities_max
        # Digests of the keys with which tickets were given out, the longest unused first.
        self._key_digests: OrderedDict[str, bytes] = OrderedDict()

    def prepare(self, handshake: OpensslHandshake) -> None:
        """Have a new handshake judge certificates at our time."""
        if self.unix_time_s is not None:
            set_verification_time(handshake.ssl, self.unix_time_s())

    def claimed_identity(self, handshake: Handshake) -> str | None:
        """The PSK identity that a client named, be it right or wrong."""
        return handshake.psk.identity if isinstance(handshake.psk, PskAnswer) else None

    def remember(self, identity: str, key_digest: bytes) -> None:
        """Note with which key an identity was let in."""
        self._key_digests.pop(identity, None)
        if len(self._key_digests) >= self._identities_max:
            del self._key_digests[next(iter(self._key_digests))]
        self._key_digests[identity] = key_digest

    def is_unchanged(self, identity: str, key_digest: bytes) -> bool:
        """Whether an identity was let in before, and with this key."""
        return self._key_digests.get(identity) == key_digest


def admit(admission: Admission, handshake: Handshake) -> Admitted | Refusal:
    """Judge a complete handshake."""
    der = handshake.peer_certificate()
    if der is not None:
        return _admit_certificate(admission, handshake, der)
    answer = handshake.psk
    if isinstance(answer, PskAnswer) and answer.identity is not None:
        if answer.key_digest:
            admission.remember(answer.identity, answer.key_digest)
        return Admitted(PeerSecurity("psk", answer.identity), answer.endpoint_name)
    return _admit_resumed_psk(admission, handshake)


def _admit_resumed_psk(admission: Admission, handshake: Handshake) -> Admitted | Refusal:
    identity = (psk_identity_of(handshake.session_der()) or b"").decode(errors="replace")
    found = admission.context.look_up(identity)
    if found is None:
        return Refusal("unknown_identity", ACCESS_DENIED)
    endpoint_name, key_digest = found
    if not admission.is_unchanged(identity, key_digest):
        # The client is to prove that it has the key of today.
        return Refusal("credentials_changed", ACCESS_DENIED)
    admission.remember(identity, key_digest)
    return Admitted(PeerSecurity("psk", identity), endpoint_name)


def _admit_certificate(
    admission: Admission, handshake: Handshake, der: bytes
) -> Admitted | Refusal:
    certificate = read_certificate(der)
    name = None if certificate is None else admission.context.credentials.name_of(certificate)
    if certificate is None or not name:
        return Refusal("certificate_without_name", BAD_CERTIFICATE)
    # OpenSSL judges a certificate when it sees it; a ticket carries it unseen.
    if (
        handshake.is_resumed
        and admission.unix_time_s is not None
        and not is_valid_at(certificate, admission.unix_time_s())
    ):
        return Refusal("certificate_expired", CERTIFICATE_EXPIRED)
    return Admitted(PeerSecurity("x509", name), name)
