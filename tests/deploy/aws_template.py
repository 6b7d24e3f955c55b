"""The template of deploy/aws as tests read it: its resources, and its policies with real names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import yaml

TEMPLATE: Final = Path(__file__).parents[2] / "deploy/aws/template.yaml"
REGION: Final = "eu-central-1"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as what they are called with."""


def _short(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"{suffix} {loader.construct_scalar(node)}"
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _short)  # type: ignore[no-untyped-call]  # PyYAML has no types


def read_template() -> dict[str, Any]:
    """All of the template."""
    return cast(dict[str, Any], yaml.load(TEMPLATE.read_text(), _Loader))


def read_resources() -> dict[str, Any]:
    """Its resources by logical name."""
    return cast(dict[str, Any], read_template()["Resources"])


def allowing(node: Any) -> Iterator[dict[str, Any]]:
    """Every statement that allows something, wherever it is."""
    if isinstance(node, dict):
        if node.get("Effect") == "Allow":
            yield node
        for inner in node.values():
            yield from allowing(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from allowing(inner)


def as_list(value: Any) -> list[str]:
    """One text or many, as many."""
    return value if isinstance(value, list) else [value]


class Names(NamedTuple):
    """What an installation's resources are called in an account."""

    bucket: str
    name: str
    account: str
    api: str = ""

    def arn(self, service: str, rest: str) -> str:
        """The ARN of something in the account."""
        return f"arn:aws:{service}:{REGION}:{self.account}:{rest}"

    @property
    def arns(self) -> Mapping[str, str]:
        """ARNs by logical name."""
        return {
            "Objects.Arn": f"arn:aws:s3:::{self.bucket}",
            "Things.Arn": self.arn("dynamodb", f"table/{self.name}-things"),
            "Telemetry.Arn": self.arn("dynamodb", f"table/{self.name}-telemetry"),
            "ArchiveStream.Arn": self.arn("firehose", f"deliverystream/{self.name}-archive"),
            "Api": self.api,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::AccountId": self.account,
        }


def resolved(node: Any, names: Names) -> Any:
    """A part of the template with `!Sub` and `!GetAtt` filled in."""
    if isinstance(node, dict):
        return {name: resolved(inner, names) for name, inner in node.items()}
    if isinstance(node, list):
        return [resolved(inner, names) for inner in node]
    if not isinstance(node, str):
        return node
    form, _, text = node.partition(" ")
    if form == "GetAtt":
        return names.arns[text]
    if form == "Sub":
        return re.sub(r"\$\{([^}]+)\}", lambda found: names.arns[found[1]], text)
    return node


class Need(NamedTuple):
    """What IAM is asked for one call: an action on a resource, with values of condition keys."""

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = {}


def allows(statement: Mapping[str, Any], need: Need) -> bool:
    """Whether a statement with real names allows it."""
    return (
        need.action in as_list(statement["Action"])
        and any(fnmatchcase(need.resource, one) for one in as_list(statement["Resource"]))
        and all(
            _holds(operator, key, as_list(wanted), need.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(
    operator: str, key: str, wanted: list[str], context: Mapping[str, tuple[str, ...]]
) -> bool:
    values = context.get(key, ())
    # The operators that the template uses; another one is a KeyError.
    like = {
        "StringLikeIfExists": fnmatchcase,
        "ForAllValues:StringEquals": str.__eq__,
        "ForAllValues:StringLike": fnmatchcase,
    }
    # All of them hold where nothing is told.
    if not values:
        return operator in like
    return all(any(like[operator](value, one) for one in wanted) for value in values)
