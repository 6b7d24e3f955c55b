"""Registration at both ends: requests, object lists, tables of states, lifetimes."""

from lwm2m.registration.client import ACTIONS, ClientAction, ClientRegistration, RetryPolicy
from lwm2m.registration.objects import (
    DEFAULT_VERSION,
    RegisteredObjects,
    list_objects,
    read_objects,
)
from lwm2m.registration.requests import (
    EncodedRequest,
    RegisterRequest,
    RegistrationPolicy,
    RegistrationReader,
    UpdateRequest,
    encode_register,
    encode_update,
)
from lwm2m.registration.server import (
    EndReason,
    Registered,
    Registration,
    RegistrationEnded,
    RegistrationTable,
    RegistrationUpdated,
)
from lwm2m.registration.states import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientEvent,
    ClientState,
    ServerEvent,
    ServerState,
    state_diagram,
)

__all__ = [
    "ACTIONS",
    "CLIENT_TRANSITIONS",
    "DEFAULT_VERSION",
    "SERVER_TRANSITIONS",
    "ClientAction",
    "ClientEvent",
    "ClientRegistration",
    "ClientState",
    "EncodedRequest",
    "EndReason",
    "RegisterRequest",
    "Registered",
    "RegisteredObjects",
    "Registration",
    "RegistrationEnded",
    "RegistrationPolicy",
    "RegistrationReader",
    "RegistrationTable",
    "RegistrationUpdated",
    "RetryPolicy",
    "ServerEvent",
    "ServerState",
    "UpdateRequest",
    "encode_register",
    "encode_update",
    "list_objects",
    "read_objects",
    "state_diagram",
]
