"""Makes a device's credentials document: how it reaches the broker and what it publishes there."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from city_platform.provisioning.certificates import Issued
from contracts.credentials import BrokerCredentials, CredentialsDocument, Publication
from contracts.manifest import ManifestRow, Model
from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE
from contracts.topics import Topics, fill

STATE_INSTANCE: Final = 0
ALARM_INSTANCE: Final = 1
PRESENCE_INSTANCE: Final = 2

# The object instances that a model reports (DESIGN: simulated devices).
REPORTED_OBJECTS: Final[dict[Model, tuple[str, ...]]] = {
    "street_lamp": ("/3416/0", "/3417/0", "/3418/0", "/3419/0", "/3311/0", "/3301/0"),
    "parking_spot": ("/3431/0", "/3302/0"),
    "water_meter": ("/3424/0",),
    "air_monitor": ("/3428/0", "/3303/0", "/3304/0", "/3325/0"),
    "waste_bin": ("/3435/0", "/3330/0"),
}


class CredentialsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What all devices of an installation share."""

    broker_uri: str
    topics: Topics
    keep_alive_s: int
    # Whether devices are given a topic on which to say that they are connected.
    presence: bool = False

    def digest(self, row: ManifestRow, public_key: bytes = b"") -> bytes:
        """Changes when a device needs other credentials: another broker, topics, or hardware, or
        another key of its own (DER; empty when the platform makes it)."""
        content = msgspec.json.encode(
            [
                self.broker_uri, self.topics, self.keep_alive_s, reported_objects(row), row.serial,
                *(["presence"] if self.presence else []),
            ]
        )  # fmt: skip
        return hashlib.sha256(content + public_key).digest()[:16]

    def document(
        self, row: ManifestRow, issued: Issued, authority_der: bytes
    ) -> CredentialsDocument:
        """The document that is sealed and written to the device."""
        endpoint = row.endpoint
        source = ",".join(f"<{path}>" for path in reported_objects(row))
        return CredentialsDocument(
            endpoint=endpoint,
            version=credentials_version(issued.certificate),
            broker=BrokerCredentials(
                uri=self.broker_uri,
                client_id=endpoint,
                certificate=issued.certificate,
                ca_certificate=authority_der,
                secret_key=issued.key,
                keep_alive_s=self.keep_alive_s,
            ),
            publications=[
                Publication(instance=instance, source=source, topic=fill(topic, endpoint=endpoint))
                for instance, topic in (
                    (STATE_INSTANCE, self.topics.state),
                    (ALARM_INSTANCE, self.topics.alarm),
                )
            ]
            + self._presence(endpoint),
        )

    def _presence(self, endpoint: str) -> list[Publication]:
        """The connection's own publication: birth, last will and good-bye."""
        if not self.presence:
            return []
        topic = fill(self.topics.presence, endpoint=endpoint)
        return [
            Publication(
                instance=PRESENCE_INSTANCE,
                source=PRESENCE_SOURCE,
                topic=topic,
                encoding=ENCODING_JSON,
            )
        ]


def reported_objects(row: ManifestRow) -> tuple[str, ...]:
    """What a device publishes: what its row says, or else what its model does."""
    return row.reports or next(
        paths for model, paths in REPORTED_OBJECTS.items() if model == row.model
    )


def credentials_version(certificate: bytes) -> str:
    """What `CredentialsDocument.version` is: 16 hex digits of the certificate's SHA-256."""
    return version_of(hashlib.sha256(certificate).hexdigest())


def version_of(sha256: str) -> str:
    """The same, of the certificate's SHA-256 in hexadecimal."""
    return sha256[:16]
