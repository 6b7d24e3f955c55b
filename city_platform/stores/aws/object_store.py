"""`ObjectStore` in an S3 bucket: an object a key, behind the installation's prefix.

What S3 has confirmed is on several disks in several buildings: `sync` asks for nothing more. The
archive's objects arrive here some hundred kilobytes large, as S3 likes them: who writes them
gathers (`city_platform.ingestion.archive`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from city_platform.stores.aws.calls import Aws, gathered
from city_platform.stores.aws.errors import AwsRefused
from city_platform.stores.object_store import (
    IllegalObjectName,
    NewObject,
    ObjectMissing,
    checked_name,
)

_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})


class S3ObjectStore:
    """See `ObjectStore`. Objects of one `put` are on their way together; of a name that is there
    twice the last one counts. When a `put` fails, any of them may have been put.

    All objects are encrypted by S3; those for their owner alone with the installation's own key
    when it has one. Who may read which is said by the policies of deploy/aws, by prefix.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._bucket = aws.config.bucket
        self._prefix = aws.config.prefix

    async def get(self, name: str) -> bytes:
        """See `ObjectStore`."""
        try:
            found = await self._call("get_object", name)
        except AwsRefused as refused:
            if refused.code in _MISSING:
                raise ObjectMissing(name) from None
            raise
        return await self._aws.read("s3", found["Body"])

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `ObjectStore`."""
        return await gathered([self._get_or_none(name) for name in names])

    async def put(self, objects: Iterable[NewObject], *, sync: bool = False) -> None:
        """See `ObjectStore`."""
        by_name = {checked_name(one.name): one for one in objects}
        await gathered([self._put(one) for one in by_name.values()])

    async def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        await self._call("delete_object", name)

    async def names(self, prefix: str = "") -> list[str]:
        """See `ObjectStore`."""
        levels = prefix.rpartition("/")[0]
        if levels:
            checked_name(levels)
        found: list[str] = []
        async for page in self._aws.pages(
            "s3",
            "list_objects_v2",
            ("NextContinuationToken", "ContinuationToken"),
            Bucket=self._bucket,
            Prefix=self._prefix + prefix,
        ):
            found += [one["Key"].removeprefix(self._prefix) for one in page.get("Contents", ())]
        return sorted(found)

    async def present(self, names: Iterable[str]) -> set[str]:
        """See `ObjectStore`."""
        asked = [checked_name(name) for name in names]
        sizes = await gathered([self._size(name) for name in asked])
        return {name for name, size in zip(asked, sizes, strict=True) if size > 0}

    async def make_bucket(self) -> None:
        """Make the bucket when it is not there."""
        region = self._aws.config.region
        where: dict[str, Any] = (
            {}  # S3's first region must not be named.
            if region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            await self._aws.call("s3", "create_bucket", Bucket=self._bucket, **where)
        except AwsRefused as refused:
            if refused.code != "BucketAlreadyOwnedByYou":
                raise

    def close(self) -> None:
        """See `ObjectStore`: the account's clients are closed by who opened them."""

    async def _get_or_none(self, name: str) -> bytes | None:
        try:
            return await self.get(name)
        except (ObjectMissing, IllegalObjectName):
            return None

    async def _put(self, new: NewObject) -> None:
        key = self._aws.config.key_id
        own = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
            if new.owner_only and key is not None
            else {}
        )
        await self._call("put_object", new.name, Body=new.data, **own)

    async def _size(self, name: str) -> int:
        try:
            return int((await self._call("head_object", name))["ContentLength"])
        except AwsRefused as refused:
            if refused.code in _MISSING:
                return 0
            raise

    async def _call(self, operation: str, name: str, **parameters: Any) -> dict[str, Any]:
        key = self._prefix + checked_name(name)
        return await self._aws.call("s3", operation, Bucket=self._bucket, Key=key, **parameters)
