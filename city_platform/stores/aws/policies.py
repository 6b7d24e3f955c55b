"""Our policies as documents of AWS IoT, and our names as its names. Pure.

AWS IoT has the topics behind its ARN, `*` where MQTT has `+` or `#`, and knows who may connect by
the client id.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from contracts.policy import Policy

NAME_LENGTH_MAX: Final = 128
DOCUMENT_BYTES_MAX: Final = 2_048
_ESCAPED = re.compile(r"[^A-Za-z0-9-]", re.ASCII)


def aws_name(name: str) -> str:
    """A group's or policy's name as AWS IoT takes it: every character but letters, digits and `-`
    becomes `_` and its code in hex. Different names stay different; a long one ends in a digest.
    """
    made = _ESCAPED.sub(lambda found: f"_{ord(found[0]):02x}", name)
    if len(made) <= NAME_LENGTH_MAX:
        return made
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{made[: NAME_LENGTH_MAX - 34]}__{digest}"


def policy_document(policy: Policy, client_id: str, arn: str) -> str:
    """The document for a principal with this client id. `arn` is the account's:
    `arn:aws:iot:eu-central-1:123456789012`."""
    statements: list[dict[str, Any]] = [_allow("iot:Connect", [f"{arn}:client/{client_id}"])]
    if policy.publish:
        statements.append(_allow("iot:Publish", _topics(arn, "topic", policy.publish)))
    if policy.subscribe:
        # A subscription is to a filter, in which `+` is a character like others.
        filters = [f"{arn}:topicfilter/{one}" for one in policy.subscribe]
        statements.append(_allow("iot:Subscribe", filters))
        statements.append(_allow("iot:Receive", _topics(arn, "topic", policy.subscribe)))
    made = msgspec.json.encode({"Version": "2012-10-17", "Statement": statements})
    return made.decode()


def _topics(arn: str, kind: str, filters: tuple[str, ...]) -> list[str]:
    return [
        f"{arn}:{kind}/{'/'.join('*' if level in '+#' else level for level in one.split('/'))}"
        for one in filters
    ]


def _allow(action: str, resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [action], "Resource": resources}
