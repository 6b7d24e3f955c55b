"""A DTLS server and clients on a network in virtual time, and certificates for them."""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Hashable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from lwm2m.transport.dtls import (
    Credentials,
    DtlsClient,
    DtlsEvent,
    DtlsServer,
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    X509Credentials,
)
from lwm2m.transport.simulated import GOOD_NETWORK, NetworkConditions, SimulatedNetwork

SERVER = ("192.0.2.1", 5684)
CLIENT = ("198.51.100.7", 40_001)
IDENTITY, KEY, ENDPOINT = "lamp-7", bytes(range(16)), "urn:dev:os:lamp-7"
PSK = PskCredentials(IDENTITY, KEY)
# Certificates are made to be valid for a day around this moment: 2026-11-15 12:00 UTC.
NOW_UNIX_S = 1_794_744_000.0
_DAY = datetime.timedelta(days=1)


def key_of(identity: str) -> tuple[str | None, bytes] | None:
    """The server's table of one device."""
    return (ENDPOINT, KEY) if identity == IDENTITY else None


SERVER_PSK = ServerCredentials(key_of=key_of)
# Of the two makers of handshakes with a pre-shared key, ours where no ticket is asked for, and
# OpenSSL's where one is.
PSK_MAKERS = {"ours": DtlsSettings(), "openssl": DtlsSettings(resumes_psk=True)}


class Pair:
    """A server and any number of clients, each at its address; keeps what each was told."""

    def __init__(
        self,
        *,
        seed: int = 1,
        conditions: NetworkConditions = GOOD_NETWORK,
        server: ServerCredentials = SERVER_PSK,
        client: Credentials | None = PSK,
        settings: DtlsSettings | None = None,
        client_settings: DtlsSettings | None = None,
    ) -> None:
        self.seed = seed
        self.network = SimulatedNetwork(seed, conditions)
        self.unix_s = NOW_UNIX_S
        self.random = random.Random(seed)
        self.credentials = client
        # With tickets for pre-shared keys too, so that resumption needs no certificates here.
        self._settings = settings or DtlsSettings(resumes_psk=True)
        self._client_settings = client_settings or self._settings
        self.events: dict[Hashable, list[DtlsEvent]] = {}
        self.server = self.start_server(server)
        self.client = self.add_client(CLIENT)

    def start_server(self, credentials: ServerCredentials) -> DtlsServer:
        """Put a new server in the place of the one before."""
        self.server = DtlsServer(
            credentials, self.random.randbytes, self._settings, lambda: self.unix_s
        )
        self._attach(SERVER, self.server)
        return self.server

    def add_client(self, address: Hashable) -> DtlsClient:
        """A client at an address, in place of the one that was there."""
        made = DtlsClient(
            lambda peer: self.credentials,
            self.random.randbytes,
            self._client_settings,
            lambda: self.unix_s,
        )
        self._attach(address, made)
        return made

    def _attach(self, address: Hashable, endpoint: DtlsServer | DtlsClient) -> None:
        told = self.events[address] = []
        # The network takes any endpoint of this shape; its annotation names CoAP's.
        self.network.attach(address, endpoint, told.extend)  # type: ignore[arg-type] # DTLS has the shape of an endpoint

    def run(self, for_s: float = 200.0) -> None:
        """Let time pass."""
        self.network.run(self.network.now + for_s)

    def connect(self) -> None:
        """A session between the client and the server."""
        self.client.connect(SERVER, self.network.now)
        for _ in range(200):
            self.run(1.0)
            if self.client.is_established(SERVER):
                break
        assert self.client.is_established(SERVER), (self.seed, self.events)

    def send(self, data: bytes) -> None:
        """From the client to the server."""
        self.client.send(SERVER, data, self.network.now)

    def received(self) -> list[bytes]:
        """What the server took since last asked."""
        return [data for data, _ in self.server.datagrams_received()]

    def names(self, address: Hashable) -> list[str]:
        """What one side was told, as names with reasons, since last asked."""
        told, self.events[address][:] = list(self.events[address]), []
        return [f"{type(event).__name__} {getattr(event, 'reason', '')}".strip() for event in told]


class Authority:
    """A certificate authority that issues what it is asked for; `issuer` None: its own root."""

    def __init__(
        self,
        name: str,
        unix_s: float,
        issuer: Authority | None = None,
        *,
        is_authority: bool = True,
    ) -> None:
        self._moment = datetime.datetime.fromtimestamp(unix_s, datetime.UTC)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        signer = issuer or self
        self.certificate = signer._sign(self.name, self.key, constraints, None, None, 0)

    def issue(
        self,
        common_name: str | None,
        *,
        usage: x509.ObjectIdentifier | None = None,
        alternative_names: list[x509.GeneralName] | None = None,
        shift_days: int = 0,
        common_names: tuple[str, ...] = (),
    ) -> tuple[bytes, bytes]:
        """A certificate and its key in DER. `shift_days` moves its validity."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = (common_name, *common_names) if common_name else common_names
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in names])
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        der = self._sign(subject, key, constraints, usage, alternative_names, shift_days)
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return der, private

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        constraints: x509.BasicConstraints,
        usage: x509.ObjectIdentifier | None,
        alternative_names: list[x509.GeneralName] | None,
        shift_days: int,
    ) -> bytes:
        moment = self._moment + shift_days * _DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _DAY)
            .not_valid_after(moment + _DAY)
            .add_extension(constraints, critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternative_names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternative_names), critical=False
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


class Certificates:
    """An authority, a server and a client of it, valid a day around a moment."""

    def __init__(self, unix_s: float = NOW_UNIX_S) -> None:
        self.authority = Authority("Test CA", unix_s)
        self.stranger = Authority("Another CA", unix_s)
        self.server, self.server_key = self.authority.issue(
            "server.example",
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            alternative_names=[x509.DNSName("server.example")],
        )
        self.client, self.client_key = self.authority.issue(
            ENDPOINT, usage=ExtendedKeyUsageOID.CLIENT_AUTH
        )

    def server_credentials(self, **changes: object) -> ServerCredentials:
        """The server's, or others with these fields."""
        fields = {
            "certificate_chain": (self.server,),
            "private_key": self.server_key,
            "trust_anchors": (self.authority.certificate,),
        }
        return ServerCredentials(**{**fields, **changes})  # type: ignore[arg-type]  # by name

    def client_credentials(self, **changes: object) -> X509Credentials:
        """The client's, or others with these fields."""
        fields = {
            "certificate_chain": (self.client,),
            "private_key": self.client_key,
            "trust_anchors": (self.authority.certificate,),
            "server_name": "server.example",
        }
        return X509Credentials(**{**fields, **changes})  # type: ignore[arg-type]  # by name


@functools.cache
def certificates() -> Certificates:
    """Made once a process: keys cost time."""
    return Certificates()


def public_key_of(der: bytes) -> bytes:
    """A certificate's SubjectPublicKeyInfo."""
    return (
        x509.load_der_x509_certificate(der)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
