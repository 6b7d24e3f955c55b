"""OpenAPI documents of the HTTP interfaces, made from the table of operations.

What an operation takes is said as far as `contracts.api` and identity's and audit's own bodies say
it; of what is not known here any JSON value is said. `python -m city_platform.identity.openapi
COMPONENT` prints one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from city_platform.audit.entries import AuditEntry
from city_platform.identity import bodies
from city_platform.identity.operations import OPERATIONS, ROLES, Operation, Scope
from contracts import api

OPENAPI: Final = "3.1.0"
MANIFEST_TYPES: Final = ("text/csv", "application/json", "application/x-ndjson")
_REFERENCES: Final = "#/components/schemas/{name}"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_NAME_IN_PATH: Final = re.compile(r"\{([a-z0-9_]+)\}")

# By the operation's name.
BODIES: Final[dict[str, Any]] = {
    "change_settings": api.Settings,
    "report_firmware": api.FirmwareReport,
    "replace_certificate": api.CertificateRequest,
    "revoke_certificate": api.Revocation,
    "rotate_certificates": api.RotationRequest,
    "roll_authority": api.RolloverRequest,
    "issue_command": api.CommandRequest,
    "record_audit": list[AuditEntry],
    "sign_in": bodies.SignIn,
    "refresh": bodies.RefreshToken,
    "sign_out": bodies.RefreshToken,
    "set_up": bodies.SetUp,
    "accept_invitation": bodies.Acceptance,
    "change_password": bodies.PasswordChange,
    "create_user": bodies.NewUser,
    "change_user": bodies.UserChange,
}
# What searches take beside `tenant`, by the operation's name: texts and numbers alike.
QUERIES: Final[dict[str, tuple[str, ...]]] = {
    "list_imports": ("limit", "cursor"),
    "read_import_errors": ("after", "limit"),
    "search_devices": ("text", "model", "box", "near", "within_m", "limit", "cursor"),
    "read_related": ("by", "limit", "cursor"),
    "list_certificates": ("endpoint", "state", "expires_before_us", "limit", "cursor"),
    "read_group_members": ("name",),
    "read_readings": ("path", "from_us", "to_us", "limit"),
    "read_alarms": ("limit",),
    "search_audit": ("who", "device", "operation", "outcome", "from_us", "before", "limit"),
    "list_users": ("after", "limit"),
}


def document(component: str, operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """The document of a component. Raises `KeyError` for one that has no operation."""
    own = [one for one in operations if one.component == component]
    if not own:
        raise KeyError(component)
    kinds = [BODIES[one.name] for one in own if one.name in BODIES]
    schemas, components = msgspec.json.schema_components(
        [api.Problem, *kinds], ref_template=_REFERENCES
    )
    by_name = dict(zip((one.name for one in own if one.name in BODIES), schemas[1:], strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in own:
        entry = _operation(one, by_name.get(one.name), schemas[0])
        paths.setdefault(one.path, {})[one.method.lower()] = entry
    return {
        "openapi": OPENAPI,
        "info": {"title": f"Lamplighter: {component}", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(operation: Operation, body: Any, problem: Any) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _NAME_IN_PATH.findall(operation.path)
    ]
    queries = QUERIES.get(operation.name, ())
    if operation.scope is Scope.QUERY:
        queries = ("tenant", *queries)
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in queries]
    roles = ", ".join(f"{role} ({ROLES[role]})" for role in operation.roles)
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.what,
        "description": f"Roles: {roles or 'any'}. For whom: {operation.scope}.",
        "parameters": parameters,
        "security": [] if operation.scope is Scope.PUBLIC else [{"token": []}],
        "responses": {
            "2XX": {"description": "done, or taken on"},
            "default": {
                "description": "an RFC 9457 problem",
                "content": {"application/problem+json": {"schema": problem}},
            },
        },
    }
    if operation.method in _WITH_BODY:
        types = MANIFEST_TYPES if operation.name == "import_manifest" else ("application/json",)
        schema = {} if body is None else body
        found["requestBody"] = {"content": {kind: {"schema": schema} for kind in types}}
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the document of the named component. Returns the exit code."""
    names = sorted({one.component for one in OPERATIONS})
    if len(arguments) != 1 or arguments[0] not in names:
        sys.stderr.write(f"name one of {', '.join(names)}\n")
        return 3
    document_text = msgspec.json.format(msgspec.json.encode(document(arguments[0])), indent=2)
    sys.stdout.write(document_text.decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
