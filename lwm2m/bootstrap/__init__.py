"""Bootstrap at both ends: requests, sessions, tables of states (LwM2M Core §6.1)."""

from lwm2m.bootstrap.client import (
    BOOTSTRAP_ACTIONS,
    FINISH_WITHIN_S,
    BootstrapAction,
    BootstrapClient,
    BootstrapPolicy,
    bootstrap_request,
    pack_request,
)
from lwm2m.bootstrap.client_configuration import (
    ServerAccount,
    find_inconsistency,
    parse_uri,
    read_accounts,
)
from lwm2m.bootstrap.client_pack import PackEffect, effect_of_pack
from lwm2m.bootstrap.server_plan import (
    BootstrapPlan,
    Discovered,
    ServerAccountPlan,
    Step,
    encode_pack,
    read_discovery,
)
from lwm2m.bootstrap.server_requests import (
    PACK_PATH,
    REQUEST_PATH,
    BootstrapRequest,
    PackRequest,
    read_bootstrap_request,
    read_pack_request,
)
from lwm2m.bootstrap.server_session import (
    SESSION_TRANSITIONS,
    BootstrapSession,
    SessionEvent,
    SessionState,
    StepResult,
)
from lwm2m.bootstrap.states import (
    BOOTSTRAP_TRANSITIONS,
    BootstrapEvent,
    BootstrapSource,
    BootstrapState,
    next_source,
)

__all__ = [
    "BOOTSTRAP_ACTIONS",
    "BOOTSTRAP_TRANSITIONS",
    "FINISH_WITHIN_S",
    "PACK_PATH",
    "REQUEST_PATH",
    "SESSION_TRANSITIONS",
    "BootstrapAction",
    "BootstrapClient",
    "BootstrapEvent",
    "BootstrapPlan",
    "BootstrapPolicy",
    "BootstrapRequest",
    "BootstrapSession",
    "BootstrapSource",
    "BootstrapState",
    "Discovered",
    "PackEffect",
    "PackRequest",
    "ServerAccount",
    "ServerAccountPlan",
    "SessionEvent",
    "SessionState",
    "Step",
    "StepResult",
    "bootstrap_request",
    "effect_of_pack",
    "encode_pack",
    "find_inconsistency",
    "next_source",
    "pack_request",
    "parse_uri",
    "read_accounts",
    "read_bootstrap_request",
    "read_discovery",
    "read_pack_request",
]
