"""Prints the AWS IoT policy of a component that connects to AWS IoT: of a bridge above all.

`python -m city_platform.aws.service_policy bridge --server north --account arn:aws:iot:REGION:ID`
prints what `aws iot create-policy --policy-document` takes. It is the table that every broker keeps
to, with the contract's own topics.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Final

from city_platform.stores.aws.policies import policy_document
from contracts.names import (
    Principal,
    bridge_identity,
    is_endpoint_name,
    service_identity,
)
from contracts.policy import POLICY_TABLE, policy_for
from contracts.topics import Topics

_ACCOUNT: Final = re.compile(r"arn:aws[a-z-]*:iot:[a-z0-9-]+:\d{12}")
SERVICES: Final = tuple(kind for kind in POLICY_TABLE if kind not in ("device", "tap"))


class WrongPrincipal(ValueError):
    """Who the policy is for, or the account, is not what it must be; the text says how it is."""


def service_policy(
    service: str, server: str, account: str, topics: Topics, connection: int = 1
) -> str:
    """The document (JSON) for a component's certificate; `server` is a bridge's, else empty.

    A bridge with several connections has a certificate, and a policy, for each. `account` is
    `arn:aws:iot:<region>:<account>`. Raises `WrongPrincipal`.
    """
    if service not in SERVICES:
        raise WrongPrincipal(f"{service!r} connects to no broker: one of {', '.join(SERVICES)}")
    if (service == "bridge") != bool(server):
        raise WrongPrincipal("a bridge has a --server, and nobody else")
    if server and not is_endpoint_name(server):
        raise WrongPrincipal(f"{server!r} is no server's name")
    if not _ACCOUNT.fullmatch(account):
        raise WrongPrincipal(f"{account!r} is not arn:aws:iot:<region>:<account of 12 digits>")
    identity = bridge_identity(server, connection) if server else service_identity(service)
    principal = Principal(service, identity, server)
    return policy_document(policy_for(principal, topics), identity, account)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the policy, or say what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m city_platform.aws.service_policy",
        description="Print the AWS IoT policy of a component that connects to AWS IoT.",
    )
    parser.add_argument("service", help=", ".join(SERVICES))
    parser.add_argument("--server", default="", help="the LwM2M server of a bridge")
    parser.add_argument("--connection", type=int, default=1, help="which of a bridge's, from 1")
    parser.add_argument("--account", required=True, help="arn:aws:iot:<region>:<account>")
    given = parser.parse_args(arguments)
    try:
        made = service_policy(
            given.service, given.server, given.account, Topics(), given.connection
        )
    except WrongPrincipal as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
