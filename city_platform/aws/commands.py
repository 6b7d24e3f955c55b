"""Commands on Lambda: the control API's checks and its desk, with DynamoDB and AWS IoT behind them.

A command is an item of the things table (`command`, its id) before it is published. The desk
decides what is published and what an outcome means, as it does in the control component; what that
has beyond one command (groups, cancelling, driving again) needs the component itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from city_platform.aws.envelopes import (
    MalformedEvent,
    Published,
    http_answer,
    http_body,
    http_problem,
)
from city_platform.aws.installation import Installation, tenant_of
from city_platform.broker_access import chance_from
from city_platform.control.desk import CommandDesk, Times
from city_platform.control.names import ResourceNames
from city_platform.control.requests import InvalidRequest, read_request
from city_platform.control.rows import CommandRow, HolderRow
from city_platform.identity.callers import Grant, grants_from
from city_platform.identity.config import ALL_TENANTS
from contracts.data_interface import decode_event
from contracts.errors import ContractError
from contracts.names import is_endpoint_name

_ROLE: Final = "controller"


async def post_command(
    event: Mapping[str, Any], installation: Installation, names: ResourceNames
) -> dict[str, Any]:
    """Take a command for a device: 202 and its id, or a problem."""
    endpoint = str((event.get("pathParameters") or {}).get("endpoint", ""))
    thing = await installation.thing(endpoint) if is_endpoint_name(endpoint) else None
    if thing is None or not _may(event, tenant_of(thing)):
        # Whose devices there are is nobody else's business.
        return http_problem(404, "unknown device", f"{endpoint[:128]!r} is not provisioned")
    try:
        request = read_request(http_body(event), names)
    except (InvalidRequest, MalformedEvent) as error:
        return http_problem(400, "wrong command", str(error))
    now_us = installation.clock.wall_us()
    row = CommandRow(
        id=installation.draw(16).hex(),
        endpoint=endpoint,
        request=request,
        state="queued",
        issued_at_us=now_us,
        expires_at_us=now_us + round(request.expires_in_s * 1e6),
        tenant=tenant_of(thing),
    )
    await _keep(row, installation)
    await _publish(row, now_us, installation)
    return http_answer(202, {"id": row.id, "endpoint": endpoint, "state": "queued"})


async def get_command(event: Mapping[str, Any], installation: Installation) -> dict[str, Any]:
    """A command and how far it has come."""
    command_id = str((event.get("pathParameters") or {}).get("id", ""))
    row = await _find(command_id, installation)
    if row is None or not _may(event, row.tenant):
        return http_problem(404, "unknown command", "no command has this id")
    shown = {
        "id": row.id,
        "endpoint": row.endpoint,
        "state": row.state,
        "issued_at_us": row.issued_at_us,
        "expires_at_us": row.expires_at_us,
        "outcome": row.outcome,
    }
    return http_answer(200, shown)


async def conclude(published: Published, installation: Installation) -> dict[str, Any]:
    """Keep the outcome that a `result` event tells; told again it changes nothing."""
    try:
        outcome = decode_event(published.payload).result
    except ContractError:
        return {"ignored": "malformed"}
    row = None if outcome is None else await _find(outcome.id, installation)
    if outcome is None or row is None:
        return {"ignored": "unknown_command"}
    moved = _desk(installation, row, ()).conclude(row, outcome, installation.clock.wall_us())
    if moved is not None:
        await _keep(moved, installation)
    return {"concluded": row.id}


async def _publish(row: CommandRow, now_us: int, installation: Installation) -> None:
    found = await installation.things.get("holder", row.endpoint)
    holders = () if found is None else (_holder(found),)
    turn = _desk(installation, row, holders).publish(row.id, now_us)
    for kept in turn.rows:
        await _keep(kept, installation)
    for publication in turn.publications:
        await installation.publish(publication.topic, publication.payload)


def _desk(
    installation: Installation, row: CommandRow, holders: tuple[HolderRow, ...]
) -> CommandDesk:
    return CommandDesk(
        installation.topics,
        Times(),
        chance_from(installation.draw),
        commands=(row,),
        holders=holders,
    )


def _holder(item: Mapping[str, Any]) -> HolderRow:
    return HolderRow(
        str(item["sk"]), str(item["server"]), str(item["epoch"]), str(item["registration_id"])
    )


async def _find(command_id: str, installation: Installation) -> CommandRow | None:
    if not command_id or len(command_id) > 128:
        return None
    item = await installation.things.get("command", command_id)
    return None if item is None else msgspec.json.decode(str(item["doc"]), type=CommandRow)


async def _keep(row: CommandRow, installation: Installation) -> None:
    await installation.things.put_many(
        [{"pk": "command", "sk": row.id, "doc": msgspec.json.encode(row).decode()}]
    )


def _may(event: Mapping[str, Any], tenant: str) -> bool:
    """Whether the caller controls this tenant's devices. Who signed with a role of IAM was let in
    by the gateway, for every tenant; who brought a token has its groups."""
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    if "iam" in authorizer:
        return True
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    # API Gateway hands a list over as `[one two]`.
    groups = str(claims.get("cognito:groups", "")).strip("[]").replace(",", " ").split()
    grants = grants_from(groups, str(claims.get("custom:tenant", "")) or None)
    return bool(grants & {Grant(tenant, _ROLE), Grant(ALL_TENANTS, _ROLE)})
