"""TLS of the devices' MQTT connections: one context per trusted CA, shared by all devices."""

from __future__ import annotations

from mqtt.tls import ClientContext, ClientEnd, Proof, Session


class TlsContexts:
    """The shared contexts, one per CA certificate."""

    def __init__(self) -> None:
        self._contexts: dict[bytes, ClientContext] = {}

    def open(
        self,
        *,
        host: str,
        ca: bytes,
        certificate: bytes,
        key: bytes,
        session: Session | None = None,
    ) -> ClientEnd:
        """A client's end that will talk to `host`. All three are DER, the key PKCS #8.

        It resumes `session`, which an earlier end with the same credentials and host left behind
        (`end`), if the broker lets it. Raises `UnusableCredentials` for what cannot be one, without
        repeating what it was given.
        """
        context = self._contexts.get(ca)
        if context is None:
            # TLS 1.2: its handshake costs a client the least, AWS IoT Core and both brokers speak
            # it, and a device that comes back after a power cut has its ticket.
            context = self._contexts[ca] = ClientContext([ca], speaks_1_3=False)
        return context.open(host, proof=Proof(certificate, key), session=session)
