"""What IAM is asked when a call is made: action, resource and condition keys, by AWS's Service
Authorization Reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tests.city_platform.stores.aws.emulators import Call
from tests.deploy.aws_template import Names, Need

_S3: Final = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
}
# AWS IoT checks no resource for these.
_NAMELESS: Final = frozenset(
    {"register_certificate_without_ca", "attach_thing_principal", "detach_thing_principal"}
)


def needs(call: Call, names: Names) -> list[Need]:
    """What must be allowed for a call."""
    by_service: dict[str, Callable[[Call, Names], list[Need]]] = {
        "s3": _of_s3,
        "dynamodb": _of_dynamodb,
        "iot": _of_iot,
        "iot-data": _of_publishing,
        "firehose": _of_firehose,
    }
    return by_service[call.service](call, names)


def _of_s3(call: Call, names: Names) -> list[Need]:
    bucket = names.arns["Objects.Arn"]
    made = [Need(_S3[call.operation], f"{bucket}/{call.parameters['Key']}")]
    if call.operation in ("get_object", "head_object"):
        # Without it a missing object is 403 and not 404.
        made.append(Need("s3:ListBucket", bucket))
    return made


def _of_dynamodb(call: Call, names: Names) -> list[Need]:
    parameters = call.parameters
    action = f"dynamodb:{_camel(call.operation)}"
    if "RequestItems" in parameters:
        return [
            Need(action, names.arn("dynamodb", f"table/{table}"), _leading(_keys_of(asked)))
            for table, asked in parameters["RequestItems"].items()
        ]
    table = names.arn("dynamodb", f"table/{parameters['TableName']}")
    if "IndexName" in parameters:
        return [Need(action, f"{table}/index/{parameters['IndexName']}")]
    key = parameters.get("Key") or parameters.get("Item")
    if key is None:
        key = {"pk": parameters["ExpressionAttributeValues"][":pk"]}
    return [Need(action, table, _leading([key]))]


def _keys_of(asked: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(asked, dict):
        yield from asked["Keys"]
        return
    for one in asked:
        yield one["PutRequest"]["Item"] if "PutRequest" in one else one["DeleteRequest"]["Key"]


def _leading(keys: Iterable[Mapping[str, Any]]) -> Mapping[str, tuple[str, ...]]:
    return {"dynamodb:LeadingKeys": tuple(dict.fromkeys(str(key["pk"]["S"]) for key in keys))}


def _of_iot(call: Call, names: Names) -> list[Need]:
    action = f"iot:{_camel(call.operation).replace('WithoutCa', 'WithoutCA')}"
    return [Need(action, resource) for resource in _iot_resources(call, names)]


def _iot_resources(call: Call, names: Names) -> list[str]:
    given = call.parameters
    if call.operation in _NAMELESS:
        return ["*"]
    if "target" in given:
        return [str(given["target"])]
    if "certificateId" in given:
        return [names.arn("iot", f"cert/{given['certificateId']}")]
    if "policyName" in given:
        return [names.arn("iot", f"policy/{given['policyName']}")]
    groups = [given.get("thingGroupName"), *given.get("thingGroupsToAdd", ())]
    groups += given.get("thingGroupsToRemove", ())
    made = [names.arn("iot", f"thinggroup/{one}") for one in groups if one]
    return [
        *made,
        *([names.arn("iot", f"thing/{given['thingName']}")] if "thingName" in given else []),
    ]


def _of_publishing(call: Call, names: Names) -> list[Need]:
    return [Need("iot:Publish", names.arn("iot", f"topic/{call.parameters['topic']}"))]


def _of_firehose(call: Call, names: Names) -> list[Need]:
    stream = call.parameters["DeliveryStreamName"]
    return [Need("firehose:PutRecordBatch", names.arn("firehose", f"deliverystream/{stream}"))]


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
