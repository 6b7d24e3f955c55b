"""Who may do what: every operation of the HTTP interfaces, and the roles that have it. Data.

What is not in this table nobody may do. `docs/reference/roles.md` is printed from it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from city_platform.identity.config import Role


class Scope(enum.StrEnum):
    """For which tenant a caller must have the role."""

    PUBLIC = "public"  # nobody signs in for it
    SIGNED_IN = "signed_in"  # whoever is signed in, for themselves
    DEVICE = "device"  # the tenant of the device in the path
    QUERY = "query"  # the tenant that the query names; all tenants when it names none
    ANSWER = "answer"  # the tenant of the device that the answer names
    NARROWED = "narrowed"  # any tenant; the component keeps to those of the caller
    ANY = "any"  # any tenant; it tells of no tenant's devices
    INSTALLATION = "installation"  # all tenants


class Operation(NamedTuple):
    """One thing that can be asked for over HTTP. With `is_audited` each request is kept."""

    name: str
    component: str
    method: str
    path: str
    what: str
    scope: Scope
    roles: tuple[Role, ...] = ()
    is_audited: bool = False


ROLES: Final[dict[Role, str]] = {
    "administrator": "manages users and their roles, and reads the audit log",
    "provisioner": "provisions and de-provisions devices",
    "analyst": "reads telemetry, alarms and metrics",
    "controller": "sends commands to devices",
    "service": "a program of the installation: settings, and entries of the audit log",
}

_A: Final[Role] = "administrator"
_P: Final[Role] = "provisioner"
_N: Final[Role] = "analyst"
_C: Final[Role] = "controller"
_S: Final[Role] = "service"

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "import_manifest", "provisioning", "POST", "/v1/imports",
        "provision the devices of a manifest", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "list_imports", "provisioning", "GET", "/v1/imports",
        "list the imports", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_import", "provisioning", "GET", "/v1/imports/{id}",
        "see how far an import is", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_import_errors", "provisioning", "GET", "/v1/imports/{id}/errors",
        "see the rows that an import refused", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_device", "provisioning", "GET", "/v1/devices/{endpoint}",
        "see a provisioned device", Scope.DEVICE, (_P, _N, _C),
    ),
    Operation(
        "search_devices", "provisioning", "GET", "/v1/devices",
        "search devices", Scope.QUERY, (_P, _N, _C),
    ),
    Operation(
        "read_related", "provisioning", "GET", "/v1/devices/{endpoint}/related",
        "see the devices of the same feeder, site, model…", Scope.INSTALLATION, (_P, _N, _C),
    ),
    Operation(
        "read_graph", "provisioning", "GET", "/v1/graph/{kind}",
        "see tenants, sites, groups, models", Scope.INSTALLATION, (_P, _N, _C),
    ),
    Operation(
        "report_firmware", "provisioning", "PUT", "/v1/devices/{endpoint}/firmware",
        "tell what firmware a device runs", Scope.INSTALLATION, (_S,),
    ),
    Operation(
        "remove_device", "provisioning", "DELETE", "/v1/devices/{endpoint}",
        "de-provision a device", Scope.DEVICE, (_P,), is_audited=True,
    ),
    Operation(
        "replace_certificate", "provisioning", "POST", "/v1/devices/{endpoint}/certificate",
        "issue a new certificate for a device", Scope.DEVICE, (_P,), is_audited=True,
    ),
    Operation(
        "list_certificates", "provisioning", "GET", "/v1/certificates",
        "list certificates", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "revoke_certificate", "provisioning", "POST", "/v1/certificates/{sha256}/revoke",
        "revoke a certificate", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "read_revoked", "provisioning", "GET", "/v1/revoked",
        "read the list of revoked certificates", Scope.INSTALLATION, (_P, _S),
    ),
    Operation(
        "rotate_certificates", "provisioning", "POST", "/v1/rotations",
        "renew the certificates of many devices", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "read_rotations", "provisioning", "GET", "/v1/rotations",
        "see how far a rotation is", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "roll_authority", "provisioning", "POST", "/v1/authority",
        "roll the certificate authority over", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "read_authority", "provisioning", "GET", "/v1/authority",
        "see the certificate authorities", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_groups", "provisioning", "GET", "/v1/groups",
        "list the groups of things", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_group_members", "provisioning", "GET", "/v1/groups/members",
        "list the things of a group", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "read_policy", "provisioning", "GET", "/v1/policies/{name}",
        "see the policy of a thing", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "change_settings", "provisioning", "PUT", "/v1/settings",
        "say where broker and servers are", Scope.INSTALLATION, (_S,), is_audited=True,
    ),
    Operation(
        "read_provisioning_metrics", "provisioning", "GET", "/metrics",
        "read provisioning's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "issue_command", "control", "POST", "/v1/devices/{endpoint}/commands",
        "send a command to a device", Scope.DEVICE, (_C,), is_audited=True,
    ),
    Operation(
        "read_command", "control", "GET", "/v1/commands/{id}",
        "see how far a command is, and its outcome", Scope.ANSWER, (_C,),
    ),
    Operation(
        "read_device_commands", "control", "GET", "/v1/devices/{endpoint}/commands",
        "list the commands to a device", Scope.DEVICE, (_C,),
    ),
    Operation(
        "read_commands", "control", "GET", "/v1/commands",
        "list commands by device, state and time", Scope.NARROWED, (_C,),
    ),
    Operation(
        "cancel_command", "control", "POST", "/v1/commands/{id}/cancel",
        "take a command back", Scope.NARROWED, (_C,), is_audited=True,
    ),
    Operation(
        "issue_group_command", "control", "POST", "/v1/commands",
        "send a command to a list, a group, a tenant, or what a search finds", Scope.NARROWED,
        (_C,), is_audited=True,
    ),
    Operation(
        "read_group_commands", "control", "GET", "/v1/group-commands",
        "list group commands", Scope.NARROWED, (_C,),
    ),
    Operation(
        "read_group_command", "control", "GET", "/v1/group-commands/{id}",
        "see how far a group command is", Scope.NARROWED, (_C,),
    ),
    Operation(
        "read_group_outcomes", "control", "GET", "/v1/group-commands/{id}/commands",
        "see what became of each device of a group command", Scope.NARROWED, (_C,),
    ),
    Operation(
        "cancel_group_command", "control", "POST", "/v1/group-commands/{id}/cancel",
        "take a group command back", Scope.NARROWED, (_C,), is_audited=True,
    ),
    Operation(
        "read_bridges", "control", "GET", "/v1/bridges",
        "see every bridge, how it stands and what it carries", Scope.ANY, (_A, _P, _N, _C),
    ),
    Operation(
        "read_control_counts", "control", "GET", "/v1/counts",
        "read control's counters", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_control_metrics", "control", "GET", "/metrics",
        "read control's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_feed", "ingestion", "GET", "/v1/feed",
        "follow everything that is stored", Scope.INSTALLATION, (_N,),
    ),
    Operation(
        "read_readings", "ingestion", "GET", "/v1/devices/{endpoint}/readings",
        "read a device's telemetry", Scope.DEVICE, (_N,),
    ),
    Operation(
        "read_alarms", "ingestion", "GET", "/v1/devices/{endpoint}/alarms",
        "read a device's alarms", Scope.DEVICE, (_N,),
    ),
    Operation(
        "read_aggregates", "ingestion", "GET", "/v1/devices/{endpoint}/aggregates",
        "read a device's telemetry by buckets of time", Scope.DEVICE, (_N,),
    ),
    Operation(
        "read_latest", "ingestion", "GET", "/v1/devices/{endpoint}/latest",
        "read a device's latest values", Scope.DEVICE, (_N, _C),
    ),
    Operation(
        "read_device_state", "ingestion", "GET", "/v1/devices/{endpoint}/state",
        "see a device's presence, latest values and open alarms", Scope.DEVICE, (_N, _C),
    ),
    Operation(
        "read_states", "ingestion", "GET", "/v1/states",
        "see presence and alarm level of all devices", Scope.NARROWED, (_N, _C),
    ),
    Operation(
        "read_changes", "ingestion", "GET", "/v1/changes",
        "follow what changes of one's devices", Scope.NARROWED, (_N, _C),
    ),
    Operation(
        "list_alarms", "ingestion", "GET", "/v1/alarms",
        "list the alarms of one's tenants", Scope.NARROWED, (_N,),
    ),
    Operation(
        "show_alarm", "ingestion", "GET", "/v1/alarms/{id}",
        "see an alarm and its history", Scope.NARROWED, (_N,),
    ),
    Operation(
        "acknowledge_alarm", "ingestion", "POST", "/v1/alarms/{id}/acknowledge",
        "acknowledge an alarm", Scope.NARROWED, (_N,), is_audited=True,
    ),
    Operation(
        "list_dead_letters", "ingestion", "GET", "/v1/dead-letters",
        "list messages that could not be stored", Scope.INSTALLATION, (_P, _N),
    ),
    Operation(
        "read_dead_letter", "ingestion", "GET", "/v1/dead-letters/{id}",
        "see a message that could not be stored", Scope.INSTALLATION, (_P, _N),
    ),
    Operation(
        "replay_dead_letters", "ingestion", "POST", "/v1/dead-letters/replay",
        "try to store such messages again", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "replay_dead_letter", "ingestion", "POST", "/v1/dead-letters/{id}/replay",
        "try to store such a message again", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "drop_dead_letter", "ingestion", "DELETE", "/v1/dead-letters/{id}",
        "forget such a message", Scope.INSTALLATION, (_P,), is_audited=True,
    ),
    Operation(
        "read_retention", "ingestion", "GET", "/v1/retention",
        "see how long telemetry is kept", Scope.ANY, (_P, _N, _S),
    ),
    Operation(
        "read_ingestion_counts", "ingestion", "GET", "/v1/counts",
        "read ingestion's counters", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_ingestion_metrics", "ingestion", "GET", "/metrics",
        "read ingestion's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "renew_credentials", "bootstrap", "POST", "/v1/devices/{endpoint}/renewed",
        "tell of renewed credentials", Scope.INSTALLATION, (_S,),
    ),
    Operation(
        "read_confirmed", "bootstrap", "POST", "/v1/confirmed",
        "see which credentials devices have", Scope.INSTALLATION, (_S,),
    ),
    Operation(
        "read_bootstrap_counts", "bootstrap", "GET", "/v1/counts",
        "read the bootstrap handler's counters", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_bootstrap_metrics", "bootstrap", "GET", "/metrics",
        "read the bootstrap handler's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "search_audit", "audit", "GET", "/v1/audit",
        "search the audit log", Scope.NARROWED, (_A, _P, _C),
    ),
    Operation(
        "read_audit_head", "audit", "GET", "/v1/audit/head",
        "read the audit log's signed head", Scope.ANY, (_A, _P, _C, _S),
    ),
    Operation(
        "record_audit", "audit", "POST", "/v1/audit/entries",
        "add entries to the audit log", Scope.INSTALLATION, (_S,),
    ),
    Operation(
        "read_audit_counts", "audit", "GET", "/v1/counts",
        "read audit's counters", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_audit_metrics", "audit", "GET", "/metrics",
        "read audit's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "sign_in", "identity", "POST", "/v1/sign-in",
        "sign in with a password", Scope.PUBLIC,
    ),
    Operation(
        "refresh", "identity", "POST", "/v1/refresh",
        "get a new access token for a refresh token", Scope.PUBLIC,
    ),
    Operation(
        "sign_out", "identity", "POST", "/v1/sign-out",
        "end a session", Scope.PUBLIC,
    ),
    Operation(
        "set_up", "identity", "POST", "/v1/set-up",
        "use the link of the first start", Scope.PUBLIC,
    ),
    Operation(
        "accept_invitation", "identity", "POST", "/v1/invitations",
        "use an invitation: set one's password", Scope.PUBLIC,
    ),
    Operation(
        "read_keys", "identity", "GET", "/.well-known/jwks.json",
        "read the keys that tokens are signed with", Scope.PUBLIC,
    ),
    Operation(
        "read_issuer", "identity", "GET", "/.well-known/openid-configuration",
        "read where the issuer's keys are", Scope.PUBLIC,
    ),
    Operation(
        "read_me", "identity", "GET", "/v1/me",
        "see who one is, and what one may do", Scope.SIGNED_IN,
    ),
    Operation(
        "change_password", "identity", "PUT", "/v1/me/password",
        "change one's password; all sessions end", Scope.SIGNED_IN,
    ),
    Operation(
        "list_users", "identity", "GET", "/v1/users",
        "list the users of one's tenants", Scope.NARROWED, (_A,),
    ),
    Operation(
        "create_user", "identity", "POST", "/v1/users",
        "create a user, who gets an invitation", Scope.NARROWED, (_A,), is_audited=True,
    ),
    Operation(
        "read_user", "identity", "GET", "/v1/users/{username}",
        "see a user", Scope.NARROWED, (_A,),
    ),
    Operation(
        "change_user", "identity", "PATCH", "/v1/users/{username}",
        "give and take roles, disable, enable, unlock", Scope.NARROWED, (_A,), is_audited=True,
    ),
    Operation(
        "invite_user", "identity", "POST", "/v1/users/{username}/invitation",
        "make a new invitation, for who lost the password", Scope.NARROWED, (_A,), is_audited=True,
    ),
    Operation(
        "rotate_signing_key", "identity", "POST", "/v1/keys",
        "sign with a new key from now on", Scope.INSTALLATION, (_A,), is_audited=True,
    ),
    Operation(
        "read_identity_counts", "identity", "GET", "/v1/counts",
        "read identity's counters", Scope.ANY, (_N, _S),
    ),
    Operation(
        "read_identity_metrics", "identity", "GET", "/metrics",
        "read identity's metrics (Prometheus)", Scope.ANY, (_N, _S),
    ),
    Operation(
        "sign_in_at_dashboard", "dashboard", "POST", "/api/session",
        "sign in at the dashboard", Scope.PUBLIC,
    ),
    Operation(
        "view_sign_in", "dashboard", "GET", "/api/sign-in",
        "see how people sign in at the dashboard", Scope.PUBLIC,
    ),
    Operation(
        "start_sign_in", "dashboard", "GET", "/api/sign-in/start",
        "go to the issuer to sign in", Scope.PUBLIC,
    ),
    Operation(
        "finish_sign_in", "dashboard", "GET", "/api/sign-in/callback",
        "come back from the issuer", Scope.PUBLIC,
    ),
    Operation(
        "read_session", "dashboard", "GET", "/api/session",
        "see one's session at the dashboard", Scope.SIGNED_IN,
    ),
    Operation(
        "sign_out_at_dashboard", "dashboard", "DELETE", "/api/session",
        "sign out at the dashboard", Scope.SIGNED_IN,
    ),
    Operation(
        "set_up_at_dashboard", "dashboard", "POST", "/api/set-up",
        "use the link of the first start on its page", Scope.PUBLIC,
    ),
    Operation(
        "accept_at_dashboard", "dashboard", "POST", "/api/invitations",
        "use an invitation on its page", Scope.PUBLIC,
    ),
    Operation(
        "view_map", "dashboard", "GET", "/api/map",
        "see the map; alarms and values only with `read_readings`", Scope.NARROWED, (_P, _N, _C),
    ),
    Operation(
        "view_devices", "dashboard", "GET", "/api/devices",
        "search devices of one's tenants", Scope.NARROWED, (_P, _N, _C),
    ),
    Operation(
        "view_device", "dashboard", "GET", "/api/devices/{endpoint}",
        "see a device's page; each part as its own operation allows", Scope.NARROWED, (_P, _N, _C),
    ),
    Operation(
        "follow_live", "dashboard", "GET", "/live",
        "follow what changes; alarms and values only with `read_readings`",
        Scope.NARROWED, (_P, _N, _C),
    ),
    Operation(
        "view_models", "dashboard", "GET", "/api/models",
        "see the object definitions", Scope.SIGNED_IN,
    ),
    Operation(
        "view_city", "dashboard", "GET", "/api/city",
        "see what the map draws under the devices", Scope.SIGNED_IN,
    ),
    Operation(
        "check_manifest", "dashboard", "POST", "/api/imports/check",
        "have a manifest checked without importing it", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "download_import_errors", "dashboard", "GET", "/api/imports/{id}/errors.csv",
        "download the rows that an import refused", Scope.INSTALLATION, (_P,),
    ),
    Operation(
        "view_bridges", "dashboard", "GET", "/api/bridges",
        "see bridges and their load", Scope.ANY, (_A, _P, _N, _C),
    ),
    Operation(
        "view_components", "dashboard", "GET", "/api/components",
        "see whether the components are ready", Scope.ANY, (_A, _P, _N, _C),
    ),
)  # fmt: skip

# Answered before anybody is asked who they are.
HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})


class Match(NamedTuple):
    """The operation of a request, and what the path names."""

    operation: Operation
    names: dict[str, str]


class OperationTable:
    """Finds the operation of a request to one component."""

    def __init__(self, component: str, operations: Sequence[Operation] = OPERATIONS) -> None:
        self._rows = [(_pattern(one.path), one) for one in operations if one.component == component]

    def find(self, method: str, path: str) -> Match | None:
        """The operation, None when there is none: then nobody may."""
        wanted = "GET" if method == "HEAD" else method
        for pattern, operation in self._rows:
            if operation.method == wanted and (found := pattern.fullmatch(path)):
                return Match(operation, found.groupdict())
        return None

    def methods(self, path: str) -> list[str]:
        """The methods that a path has."""
        return sorted({one.method for pattern, one in self._rows if pattern.fullmatch(path)})


def operation_named(name: str) -> Operation:
    """The row of this name. Raises `KeyError`."""
    for operation in OPERATIONS:
        if operation.name == name:
            return operation
    raise KeyError(name)


def _pattern(path: str) -> re.Pattern[str]:
    levels = (
        f"(?P<{level[1:-1]}>[^/]+)" if level.startswith("{") else re.escape(level)
        for level in path.split("/")
    )
    return re.compile("/".join(levels))
