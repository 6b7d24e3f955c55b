"""Puts the template's functions, roles, rules and stream into an emulated account.

The emulators' CloudFormation knows no topic rules and no delivery streams: what they are is read
from the template here and made call by call, so that it is the template that is tried.
"""

from __future__ import annotations

import io
import json
import os
import sysconfig
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from city_platform.stores.aws.calls import Aws
from city_platform.stores.aws.opening import open_objects, open_telemetry_table, open_things
from tests.city_platform.stores.aws.ministack_child import ROOT
from tests.deploy.aws_template import Names, read_resources, resolved

_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": ["lambda.amazonaws.com", "firehose.amazonaws.com"]},
            "Action": "sts:AssumeRole",
        }
    ],
}
# The code is where it is: nothing is packed, and its dependencies are this environment's.
_ENTRY: Final = """
import os, sys
sys.path[:0] = os.environ["LAMPLIGHTER_CODE"].split(os.pathsep)
from city_platform.aws.handlers import *
from city_platform.aws.handlers import on_command, on_event, on_presence
from city_platform.aws.handlers import on_records, on_result, on_schedule
"""


class Stack:
    """An account with the template's moving parts."""

    def __init__(self, aws: Aws, names: Names, url: str) -> None:
        self.names = names
        self._aws = aws
        self._url = url
        self._resources = read_resources()

    async def deploy(self) -> None:
        """Make everything, as the account's root."""
        await open_objects(self._aws)
        await open_things(self._aws)
        await open_telemetry_table(self._aws)
        for name, one in self._resources.items():
            if one["Type"] == "AWS::Serverless::Function":
                await self._make_function(name, one["Properties"])
        for name, one in self._resources.items():
            if one["Type"] == "AWS::IoT::TopicRule":
                await self._make_rule(name, one["Properties"]["TopicRulePayload"])
        await self._make_stream()

    def function_arn(self, name: str) -> str:
        """The ARN of a function by its logical name."""
        return self.names.arn("lambda", f"function:{self.names.name}-{name}")

    async def make_api(self) -> str:
        """The HTTP API with the template's routes, signed calls only; returns its id."""
        made = await self._aws.call(
            "apigatewayv2", "create_api", Name=self.names.name, ProtocolType="HTTP"
        )
        api = str(made["ApiId"])
        integration = await self._aws.call(
            "apigatewayv2",
            "create_integration",
            ApiId=api,
            IntegrationType="AWS_PROXY",
            IntegrationUri=self.function_arn("Commands"),
            PayloadFormatVersion="2.0",
        )
        for one in self._resources.values():
            if one["Type"] == "AWS::ApiGatewayV2::Route":
                await self._aws.call(
                    "apigatewayv2",
                    "create_route",
                    ApiId=api,
                    RouteKey=one["Properties"]["RouteKey"],
                    AuthorizationType="AWS_IAM",
                    Target=f"integrations/{integration['IntegrationId']}",
                )
        await self._aws.call(
            "apigatewayv2", "create_stage", ApiId=api, StageName="$default", AutoDeploy=True
        )
        await self._aws.call(
            "lambda",
            "add_permission",
            FunctionName=f"{self.names.name}-Commands",
            StatementId="api",
            Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com",
            SourceArn=self.names.arn("execute-api", f"{api}/*"),
        )
        return api

    async def make_operators_role(self, name: str, api: str) -> str:
        """A role of operators with the template's policies for this API; returns its ARN."""
        names = self.names._replace(api=api)
        policies = resolved(self._resources[name]["Properties"]["Policies"], names)
        return await self._make_role(name, [one["PolicyDocument"] for one in policies])

    async def _make_function(self, name: str, properties: Mapping[str, Any]) -> None:
        role = await self._make_role(name, resolved(properties["Policies"], self.names))
        await self._aws.call(
            "lambda",
            "create_function",
            FunctionName=f"{self.names.name}-{name}",
            Runtime="python3.11",
            Role=role,
            Handler="entry." + properties["Handler"].rpartition(".")[2],
            Timeout=60,
            Code={"ZipFile": _code()},
            Environment={
                "Variables": {
                    "LAMPLIGHTER_NAME": self.names.name,
                    "LAMPLIGHTER_BUCKET": self.names.bucket,
                    "LAMPLIGHTER_ENDPOINTS": json.dumps({"default": self._url}),
                    "LAMPLIGHTER_CODE": os.pathsep.join(
                        [str(ROOT), sysconfig.get_paths()["purelib"]]
                    ),
                }
            },
        )

    async def _make_role(self, name: str, policies: list[dict[str, Any]]) -> str:
        role = f"{self.names.name}-{name}"
        made = await self._aws.call(
            "iam", "create_role", RoleName=role, AssumeRolePolicyDocument=json.dumps(_TRUST)
        )
        for number, document in enumerate(policies):
            await self._aws.call(
                "iam",
                "put_role_policy",
                RoleName=role,
                PolicyName=f"policy-{number}",
                PolicyDocument=json.dumps(document),
            )
        return str(made["Role"]["Arn"])

    async def _make_rule(self, name: str, payload: Mapping[str, Any]) -> None:
        """Rules that call functions; into streams the emulator's rules do not reach."""
        actions = [one["Lambda"] for one in payload["Actions"] if "Lambda" in one]
        if not actions:
            return
        function = actions[0]["FunctionArn"].removeprefix("GetAtt ").removesuffix(".Arn")
        rule = f"{self.names.name}_{name}".replace("-", "_")
        await self._aws.call(
            "iot",
            "create_topic_rule",
            ruleName=rule,
            topicRulePayload={
                "sql": payload["Sql"],
                "awsIotSqlVersion": payload["AwsIotSqlVersion"],
                "actions": [{"lambda": {"functionArn": self.function_arn(function)}}],
            },
        )
        await self._aws.call(
            "lambda",
            "add_permission",
            FunctionName=f"{self.names.name}-{function}",
            StatementId=name,
            Action="lambda:InvokeFunction",
            Principal="iot.amazonaws.com",
            SourceArn=self.names.arn("iot", f"rule/{rule}"),
        )

    async def _make_stream(self) -> None:
        found = self._resources["TelemetryStream"]["Properties"]
        processors = found["ExtendedS3DestinationConfiguration"]["ProcessingConfiguration"]
        assert processors["Processors"][0]["Type"] == "Lambda"
        documents = [
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                        "Resource": f"{self.names.arns['Objects.Arn']}/*",
                    },
                    {
                        "Effect": "Allow",
                        "Action": "lambda:InvokeFunction",
                        "Resource": self.function_arn("Transform"),
                    },
                ],
            }
        ]
        role = await self._make_role("stream", documents)
        parameter = {"ParameterName": "LambdaArn", "ParameterValue": self.function_arn("Transform")}
        await self._aws.call(
            "firehose",
            "create_delivery_stream",
            DeliveryStreamName=f"{self.names.name}-telemetry",
            ExtendedS3DestinationConfiguration={
                "RoleARN": role,
                "BucketARN": self.names.arns["Objects.Arn"],
                "Prefix": "archive/",
                "ProcessingConfiguration": {
                    "Enabled": True,
                    "Processors": [{"Type": "Lambda", "Parameters": [parameter]}],
                },
            },
        )


def _code() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("entry.py", _ENTRY)
    return made.getvalue()
