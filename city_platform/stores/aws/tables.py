"""DynamoDB tables: their keys, and reading and writing many items at a time.

Every table has the text keys `pk` and `sk`. Values are DynamoDB's own form (`{"S": "…"}`), made and
read here and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from city_platform.stores.aws.calls import Aws, gathered
from city_platform.stores.aws.errors import AwsRefused, AwsUnavailable

# Items of one BatchWriteItem, one BatchGetItem.
WRITE_ITEMS_MAX: Final = 25
READ_ITEMS_MAX: Final = 100
# Rounds in which what a batch left undone is asked for again.
ROUNDS_MAX: Final = 12

Value = str | int | bytes | bool | None
Item = dict[str, Value]


class Index(NamedTuple):
    """A further way to find items: those that have `key`, in the order of `sort`."""

    name: str
    key: str
    sort: str


class Table:
    """One table of the account."""

    def __init__(self, aws: Aws, name: str, indexes: Sequence[Index] = ()) -> None:
        self._aws = aws
        self._indexes = indexes
        self.name = name

    async def make(self) -> None:
        """Make the table when it is not there, and wait until it can be used."""
        try:
            await self._aws.call("dynamodb", "create_table", **definition(self.name, self._indexes))
        except AwsRefused as refused:
            if refused.code != "ResourceInUseException":
                raise

    async def get(self, pk: str, sk: str) -> Item | None:
        """One item as it was last written, None when there is none."""
        answer = await self._aws.call(
            "dynamodb",
            "get_item",
            TableName=self.name,
            Key=_key(pk, sk),
            ConsistentRead=True,
        )
        found = answer.get("Item")
        return None if found is None else item_from(found)

    async def get_many(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Item]:
        """Those that exist, by key."""
        asked = list(dict.fromkeys(keys))
        pages = [
            self._get_page(asked[start : start + READ_ITEMS_MAX])
            for start in range(0, len(asked), READ_ITEMS_MAX)
        ]
        found: dict[tuple[str, str], Item] = {}
        for page in await gathered(pages):
            found |= page
        return found

    async def put_many(self, items: Sequence[Item]) -> None:
        """Put or replace items; no key is there twice."""
        await self._write([{"PutRequest": {"Item": item_to(item)}} for item in items])

    async def delete_many(self, keys: Iterable[tuple[str, str]]) -> None:
        """Take items away; those that are not there do no harm."""
        await self._write([{"DeleteRequest": {"Key": _key(*key)}} for key in keys])

    async def put_if(self, item: Item, condition: str, values: Mapping[str, Value]) -> Item | None:
        """Put one item if the condition holds of what is there. None when it was put; else what is
        there, empty when nothing is. Names in the condition are DynamoDB's, values `:name`."""
        given: dict[str, Any] = {}
        if values:
            given["ExpressionAttributeValues"] = item_to(values)
        try:
            await self._aws.call(
                "dynamodb",
                "put_item",
                TableName=self.name,
                Item=item_to(item),
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **given,
            )
        except AwsRefused as refused:
            if refused.code != "ConditionalCheckFailedException":
                raise
            return item_from(refused.details.get("Item", {}))
        return None

    async def query(
        self,
        pk: str,
        *,
        between: tuple[str, str] | None = None,
        after: str | None = None,
        begins: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Item]:
        """Items of one `pk` in the order of `sk`: from and to (both included), past, or with a
        beginning; at most `limit`."""
        condition, values = _condition(pk, between, after, begins)
        return await self._found(
            limit,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=item_to(values),
            ConsistentRead=True,
            ScanIndexForward=not newest_first,
        )

    async def query_index(self, index: str, value: str) -> list[Item]:
        """Items by another key; what was written a moment ago may not be there yet."""
        key = next(one.key for one in self._indexes if one.name == index)
        return await self._found(
            None,
            IndexName=index,
            KeyConditionExpression="#key = :key",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues=item_to({":key": value}),
        )

    async def _found(self, limit: int | None, **parameters: Any) -> list[Item]:
        found: list[Item] = []
        if limit is not None:
            if limit <= 0:
                return []
            parameters["Limit"] = limit
        pages: AsyncGenerator[dict[str, Any], None] = self._aws.pages(
            "dynamodb",
            "query",
            ("LastEvaluatedKey", "ExclusiveStartKey"),
            TableName=self.name,
            **parameters,
        )
        try:
            async for page in pages:
                found += [item_from(one) for one in page["Items"]]
                if limit is not None and len(found) >= limit:
                    break
        finally:
            await pages.aclose()
        return found if limit is None else found[:limit]

    async def _get_page(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], Item]:
        found: dict[tuple[str, str], Item] = {}
        wanted: dict[str, Any] = {
            self.name: {"Keys": [_key(*key) for key in keys], "ConsistentRead": True}
        }
        for tries in range(1, ROUNDS_MAX):
            answer = await self._aws.call("dynamodb", "batch_get_item", RequestItems=wanted)
            for one in answer["Responses"].get(self.name, ()):
                item = item_from(one)
                found[str(item["pk"]), str(item["sk"])] = item
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                return found
            await self._aws.rest(tries)
        raise AwsUnavailable(f"DynamoDB leaves items of {self.name} unread: raise its capacity")

    async def _write(self, requests: list[dict[str, Any]]) -> None:
        await gathered(
            [
                self._write_page(requests[start : start + WRITE_ITEMS_MAX])
                for start in range(0, len(requests), WRITE_ITEMS_MAX)
            ]
        )

    async def _write_page(self, requests: list[dict[str, Any]]) -> None:
        left = {self.name: requests}
        for tries in range(1, ROUNDS_MAX):
            answer = await self._aws.call("dynamodb", "batch_write_item", RequestItems=left)
            left = answer.get("UnprocessedItems") or {}
            if not left:
                return
            await self._aws.rest(tries)
        raise AwsUnavailable(f"DynamoDB leaves items of {self.name} unwritten: raise its capacity")


def definition(name: str, indexes: Sequence[Index]) -> dict[str, Any]:
    """What CreateTable is told; the template of deploy/aws says the same."""
    named = {"pk", "sk", *(key for index in indexes for key in (index.key, index.sort))}
    made: dict[str, Any] = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": one, "AttributeType": "S"} for one in sorted(named)
        ],
        "KeySchema": _schema("pk", "sk"),
    }
    if indexes:
        made["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.key, index.sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in indexes
        ]
    return made


def item_to(item: Mapping[str, Value]) -> dict[str, Any]:
    """An item in DynamoDB's form; what is None is left out."""
    return {name: _value_to(value) for name, value in item.items() if value is not None}


def item_from(item: Mapping[str, Any]) -> Item:
    """An item as Python has it: numbers are whole."""
    found: Item = {}
    for name, typed in item.items():
        ((kind, value),) = typed.items()
        found[name] = int(value) if kind == "N" else bytes(value) if kind == "B" else value
    return found


def _value_to(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"B": value} if isinstance(value, bytes) else {"S": value}


def _condition(
    pk: str, between: tuple[str, str] | None, after: str | None, begins: str | None
) -> tuple[str, dict[str, Value]]:
    condition, values = "pk = :pk", dict[str, Value]({":pk": pk})
    if between is not None:
        return f"{condition} AND sk BETWEEN :from AND :to", {
            **values, ":from": between[0], ":to": between[1],
        }  # fmt: skip
    if after:
        return f"{condition} AND sk > :after", {**values, ":after": after}
    if begins is not None:
        return f"{condition} AND begins_with(sk, :begins)", {**values, ":begins": begins}
    return condition, values


def _schema(key: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": key, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}
