"""The boxes of the platform: what each is embedded and in the cloud, and which tests show it.

Data only. `harness.box_table` prints the page; tests are named as pytest names them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_PLATFORM: Final = "tests/city_platform"
_ENTRY_POINTS: Final = f"{_PLATFORM}/aws/test_entry_points.py"
_MINISTACK: Final = "tests/deploy/test_ministack.py"
_ON_AWS: Final = "tests/harness/bench/test_target_runs.py"


class Side(NamedTuple):
    """A box in one column. `tests` are `file.py`, `file.py::test_beginning`, either with a
    `[parameter]`; `limit` is what no emulator shows."""

    counterpart: str
    tests: tuple[str, ...] = ()
    limit: str = ""


class Box(NamedTuple):
    """One box of the design."""

    name: str
    embedded: Side
    cloud: Side


BOXES: Final[tuple[Box, ...]] = (
    Box(
        "dashboard",
        Side("component", (f"{_PLATFORM}/dashboard/test_whole_flow.py",)),
        Side(
            "the same component",
            limit="it calls the platform's APIs and nothing of AWS: there is nothing to emulate",
        ),
    ),
    Box(
        "provisioning API",
        Side("component", (f"{_PLATFORM}/provisioning/test_imports.py",)),
        Side(
            "the same component with an account's stores",
            (_ON_AWS, f"{_MINISTACK}::test_a_component_does_its_work[ProvisioningPolicy]"),
            limit="an account's real quotas: the token buckets are tested, their rates are AWS's",
        ),
    ),
    Box(
        "things, certificates, policies, groups",
        Side("SQLite", (f"{_PLATFORM}/stores/test_thing_registry_contract.py[embedded]",)),
        Side(
            "AWS IoT Core and DynamoDB",
            (
                f"{_PLATFORM}/stores/test_thing_registry_contract.py[aws]",
                f"{_MINISTACK}::test_a_thing_that_is_there_is_updated",
            ),
            limit="how soon AWS ends the connections of a revoked certificate (minutes, it says)",
        ),
    ),
    Box(
        "credentials, a file per device",
        Side("files", (f"{_PLATFORM}/stores/test_object_store_contract.py[embedded]",)),
        Side(
            "S3",
            (f"{_PLATFORM}/stores/test_object_store_contract.py[aws]",),
            limit="KMS keys, and the policies of the bucket",
        ),
    ),
    Box(
        "device graph",
        Side("kglite", (f"{_PLATFORM}/graph/test_kglite.py",)),
        Side("Neo4j, over Bolt", (f"{_PLATFORM}/graph/test_bolt.py",)),
    ),
    Box(
        "bridge",
        Side(
            "component",
            (
                f"{_PLATFORM}/bridge/test_core.py",
                f"{_PLATFORM}/bridge/test_core_commands.py",
                f"{_PLATFORM}/bridge/test_core_credentials.py",
            ),
        ),
        Side(
            "the same component, its certificate registered with AWS IoT",
            (f"{_MINISTACK}::test_a_registration_fires",),
            limit="the component itself on AWS IoT: the emulator's broker is spoken to by a plain"
            " client with the bridge's certificate and policy",
        ),
    ),
    Box(
        "broker",
        Side(
            "our own, mutual TLS and the policy table",
            ("tests/harness/mqtt_broker/test_brokers.py[embedded]",),
        ),
        Side(
            "AWS IoT Core",
            (
                f"{_MINISTACK}::test_a_device_may_publish",
                f"{_MINISTACK}::test_nobody_takes",
                f"{_MINISTACK}::test_a_device_reads_nothing",
                f"{_MINISTACK}::test_a_revoked_certificate",
            ),
            limit="a client without a certificate: MiniStack lets it in, AWS does not; persistent"
            " sessions and quotas",
        ),
    ),
    Box(
        "rules",
        Side("rule runner", (f"{_PLATFORM}/rules/test_runner.py",)),
        Side(
            "topic rules",
            (f"{_MINISTACK}::test_a_registration_fires", "tests/deploy/test_aws_template.py"),
            limit="rules into a delivery stream: MiniStack takes and drops them; the transform is"
            " given what such a rule puts, by PutRecordBatch",
        ),
    ),
    Box(
        "bootstrap handler",
        Side("component", (f"{_PLATFORM}/together/test_bootstrap_and_control.py",)),
        Side(
            "Lambda",
            (
                f"{_ENTRY_POINTS}::test_a_registration",
                f"{_ENTRY_POINTS}::test_driving",
                f"{_ENTRY_POINTS}::test_nothing_is_published",
                f"{_MINISTACK}::test_a_registration_fires",
                f"{_MINISTACK}::test_an_unknown_device",
            ),
        ),
    ),
    Box(
        "control API and commands",
        Side("component", (f"{_PLATFORM}/control/test_desk.py",)),
        Side(
            "API Gateway and Lambda: one command, its outcome, its state",
            (
                f"{_ENTRY_POINTS}::test_a_command",
                f"{_ENTRY_POINTS}::test_only_whoever",
                f"{_MINISTACK}::test_a_controller_signs",
            ),
            limit="groups, cancelling and driving again need the component",
        ),
    ),
    Box(
        "buffer",
        Side("spool on disk", (f"{_PLATFORM}/ingestion/test_spool.py",)),
        Side(
            "Amazon Data Firehose",
            (
                f"{_PLATFORM}/stores/aws/test_delivery_stream.py",
                f"{_MINISTACK}::test_records_of_the_stream",
            ),
            limit="the 60 s and more that a real stream gathers: emulators deliver at once",
        ),
    ),
    Box(
        "transform",
        Side("component", (f"{_PLATFORM}/ingestion/test_transform.py",)),
        Side(
            "Lambda, called by the stream",
            (f"{_ENTRY_POINTS}::test_every_record", f"{_MINISTACK}::test_records_of_the_stream"),
            limit="what Firehose keeps under `failed/`: MiniStack drops what was not transformed",
        ),
    ),
    Box(
        "telemetry store",
        Side("SQLite", (f"{_PLATFORM}/stores/test_telemetry_store_contract.py[embedded]",)),
        Side(
            "DynamoDB",
            (f"{_PLATFORM}/stores/test_telemetry_store_contract.py[aws]", _ON_AWS),
            limit="throttled capacity, indexes that lag behind",
        ),
    ),
    Box(
        "archive",
        Side(
            "compressed lines in files",
            (f"{_PLATFORM}/ingestion/test_ingestion.py::test_archive_objects",),
        ),
        Side(
            "S3, straight or by Firehose",
            (
                f"{_PLATFORM}/stores/aws/test_delivery_stream.py::test_the_archive",
                f"{_MINISTACK}::test_records_of_the_stream",
            ),
            limit="storage classes and life cycle",
        ),
    ),
    Box(
        "audit",
        Side("component, hash chain", (f"{_PLATFORM}/audit/test_over_a_broker.py",)),
        Side(
            "topic rules, Firehose, S3",
            ("tests/deploy/test_aws_template.py::test_the_rules_hear_the_topics",),
            limit="the way of a command into the bucket: no emulator fires rules into a stream",
        ),
    ),
    Box(
        "identity and roles",
        Side("our issuer", (f"{_PLATFORM}/identity/test_service.py",)),
        Side(
            "Cognito user pool, `cognito:groups`",
            (f"{_PLATFORM}/aws/test_cognito.py",),
            limit="Cognito's own pages, mail and second factor",
        ),
    ),
    Box(
        "operators' calls",
        Side("bearer tokens at every component", (f"{_PLATFORM}/identity/test_gated.py",)),
        Side(
            "IAM by the identity pool, or tokens at API Gateway",
            (
                f"{_PLATFORM}/aws/test_signed_calls.py",
                f"{_MINISTACK}::test_a_controller_signs",
                f"{_MINISTACK}::test_an_analyst",
                f"{_MINISTACK}::test_a_request_that_was_not_signed",
            ),
            limit="the choice of a role by group: the emulator's identity pools have one role;"
            " tokens at API Gateway",
        ),
    ),
)
