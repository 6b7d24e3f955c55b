"""Which stores an installation has, as its configuration says it: nothing is imported from AWS."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class EmbeddedStores(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    tag_field="kind", tag="embedded",
):  # fmt: skip
    """Files and SQLite in the component's own folder."""


class AwsLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the account bears, and how long is waited for it."""

    registry_per_s: _Positive = 10.0
    """Calls a second of each operation of AWS IoT's registry; the quota of most is 10 or 15."""
    publishes_per_s: _Positive = 100.0
    """Messages a second and connection (quota of AWS IoT: publish requests per connection)."""
    stream_requests_per_s: _Positive = 1_000.0
    """Calls a second of a delivery stream (quota of Firehose in most regions)."""
    stream_records_per_s: _Positive = 100_000.0
    """Records a second of a delivery stream (likewise)."""
    stream_bytes_per_s: _Positive = 1_048_576.0
    """Bytes a second of a delivery stream (likewise; 5 MiB in three regions)."""
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=256)] = 32
    """Calls at one time."""
    call_s: _Positive = 30.0
    """A call with all its tries; then the store is not available."""
    try_s: _Positive = 10.0
    """One try of a call."""
    first_pause_s: _Positive = 0.05
    """Longest pause before the second try; it doubles with each further one."""
    longest_pause_s: _Positive = 5.0
    """Longest pause before any try."""


class AwsStores(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    tag_field="kind", tag="aws",
):  # fmt: skip
    """S3, DynamoDB and AWS IoT. Credentials come from the environment, a profile or the machine's
    role, never from here."""

    region: str
    """Such as eu-central-1."""
    bucket: str
    """The S3 bucket with credentials and archive."""
    prefix: str = ""
    """Before the names of all objects: `city-1/`."""
    name: str = "lamplighter"
    """Before the names of tables (`<name>-telemetry`, `<name>-things`)."""
    archive_stream: str | None = None
    """Delivery stream (Firehose) that ingestion's archive goes through; None: the archive's objects
    are put into the bucket by ingestion itself."""
    key_id: str | None = None
    """KMS key that encrypts objects only their owner may read; None: S3's own encryption."""
    profile: str | None = None
    """Profile of the shared credentials file; None: the environment's, or the machine's role."""
    endpoints: dict[str, str] = {}
    """URLs by service (`s3`, `dynamodb`, `iot`, `iot-data`), for emulators and private
    endpoints; `default` is for those that are not named."""
    create_missing: bool = False
    """Make the bucket and the tables when they are not there. For emulators: in an account the
    template of deploy/aws makes them, and components have no right to."""
    limits: AwsLimits = AwsLimits()
    """Bounds of calls."""

    @property
    def telemetry_table(self) -> str:
        """Readings, alarms, feed and state."""
        return f"{self.name}-telemetry"

    @property
    def things_table(self) -> str:
        """What the registry of AWS IoT has no place for: digests, certificates' states, tasks."""
        return f"{self.name}-things"


Stores = EmbeddedStores | AwsStores
