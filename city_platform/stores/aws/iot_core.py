"""Things, certificates, policies and groups in AWS IoT Core: what lets a device in, or no longer.

Every step may be repeated, also after a kill in its middle: what is there already is left as it
is, or brought to what it should be. Certificates are those that the installation's own authority
signed; AWS takes them without knowing it, by their digest.
"""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

from city_platform.stores.aws.calls import Aws, gathered
from city_platform.stores.aws.errors import AwsRefused
from city_platform.stores.aws.policies import aws_name, policy_document
from city_platform.stores.thing_registry import Certificate, Thing

CertificateStatus = Literal["ACTIVE", "INACTIVE", "REVOKED"]

THERE_ALREADY: Final = "ResourceAlreadyExistsException"
GONE: Final = "ResourceNotFoundException"
_ATTRIBUTE_LENGTH_MAX: Final = 800


class IotCore:
    """One account's registry. Which groups and types it has seen is remembered."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._groups: set[str] = set()

    async def put(self, thing: Thing) -> str:
        """Make the thing, or bring it to what it should be; returns its certificate's ARN."""
        arn = await self._put_certificate(thing.certificate)
        policy = await self._put_policy(thing, arn)
        await self._call("attach_policy", policyName=policy, target=arn)
        await self._put_thing(thing)
        await self._call("attach_thing_principal", thingName=thing.name, principal=arn)
        await self._put_groups(thing)
        return arn

    async def set_status(self, arn: str, status: CertificateStatus) -> None:
        """What may be done with a certificate: a revoked one is refused at its next connection, and
        AWS ends those that it has within minutes. One that AWS does not know does no harm."""
        try:
            await self._call(
                "update_certificate", certificateId=arn.rpartition("/")[2], newStatus=status
            )
        except AwsRefused as refused:
            if refused.code != GONE:
                raise

    async def remove(self, name: str, policy_name: str) -> None:
        """Take a thing out: its certificates' policies, its policy, itself and so its groups."""
        for arn in await self._principals(name):
            await self._quietly("detach_policy", policyName=aws_name(policy_name), target=arn)
            await self._quietly("detach_thing_principal", thingName=name, principal=arn)
        await self._remove_policy(aws_name(policy_name))
        await self._quietly("delete_thing", thingName=name)

    async def _put_certificate(self, certificate: Certificate) -> str:
        try:
            found = await self._call(
                "register_certificate_without_ca",
                certificatePem=_pem(certificate.der),
                status="ACTIVE",
            )
            return str(found["certificateArn"])
        except AwsRefused as refused:
            if refused.code != THERE_ALREADY:
                raise
            return str(refused.details["resourceArn"])

    async def _put_policy(self, thing: Thing, certificate_arn: str) -> str:
        name = aws_name(thing.policy_name)
        arn = certificate_arn.partition(":cert/")[0]
        document = policy_document(thing.policy, thing.name, arn)
        try:
            await self._call("create_policy", policyName=name, policyDocument=document)
        except AwsRefused as refused:
            if refused.code != THERE_ALREADY:
                raise
            await self._renew_policy(name, document)
        return name

    async def _renew_policy(self, name: str, document: str) -> None:
        found = await self._call("get_policy", policyName=name)
        if found["policyDocument"] == document:
            return
        # A policy has five versions at most: the older ones go.
        await self._drop_old_versions(name)
        await self._call(
            "create_policy_version", policyName=name, policyDocument=document, setAsDefault=True
        )

    async def _drop_old_versions(self, name: str) -> None:
        versions = await self._call("list_policy_versions", policyName=name)
        for one in versions["policyVersions"]:
            if not one["isDefaultVersion"]:
                await self._quietly(
                    "delete_policy_version", policyName=name, policyVersionId=one["versionId"]
                )

    async def _remove_policy(self, name: str) -> None:
        try:
            # AWS deletes no policy that has more than its default version.
            await self._drop_old_versions(name)
        except AwsRefused as refused:
            if refused.code != GONE:
                raise
            return
        await self._quietly("delete_policy", policyName=name)

    async def _put_thing(self, thing: Thing) -> None:
        attributes = {"type": _attribute(thing.type), "serial": _attribute(thing.serial)}
        try:
            await self._call(
                "create_thing",
                thingName=thing.name,
                attributePayload={"attributes": attributes},
            )
        except AwsRefused as refused:
            if refused.code != THERE_ALREADY:
                raise
            await self._call(
                "update_thing",
                thingName=thing.name,
                attributePayload={"attributes": attributes, "merge": False},
            )

    async def _put_groups(self, thing: Thing) -> None:
        wanted = {aws_name(group) for group in thing.groups}
        for group in sorted(wanted - self._groups):
            await self._make_group(group)
        found = await self._call("list_thing_groups_for_thing", thingName=thing.name)
        has = {one["groupName"] for one in found["thingGroups"]}
        if has != wanted:
            await self._call(
                "update_thing_groups_for_thing",
                thingName=thing.name,
                thingGroupsToAdd=sorted(wanted - has),
                thingGroupsToRemove=sorted(has - wanted),
            )

    async def _make_group(self, group: str) -> None:
        try:
            await self._call("create_thing_group", thingGroupName=group)
        except AwsRefused as refused:
            # Somebody made it with a description of their own.
            if refused.code != THERE_ALREADY:
                raise
        self._groups.add(group)

    async def _principals(self, name: str) -> list[str]:
        try:
            found = await self._call("list_thing_principals", thingName=name)
        except AwsRefused as refused:
            if refused.code != GONE:
                raise
            return []
        return [str(one) for one in found["principals"]]

    async def _quietly(self, operation: str, **parameters: Any) -> None:
        try:
            await self._call(operation, **parameters)
        except AwsRefused as refused:
            if refused.code != GONE:
                raise

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._aws.call("iot", operation, **parameters)


async def put_all(core: IotCore, things: list[Thing]) -> dict[str, str]:
    """Make all things, as many at a time as the account's limits let through; returns the ARNs of
    their certificates by thing."""
    arns = await gathered([core.put(thing) for thing in things])
    return {thing.name: arn for thing, arn in zip(things, arns, strict=True)}


def _pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _attribute(text: str) -> str:
    """Text as an attribute of a thing may have it: other characters become `_`."""
    allowed = "_.,@/:#-"
    return "".join(
        one if (one.isascii() and one.isalnum()) or one in allowed else "_" for one in text
    )[:_ATTRIBUTE_LENGTH_MAX]
