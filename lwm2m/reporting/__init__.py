"""Information reporting: notification attributes, observations, Send (LwM2M Core §5.1.2, §6.4);
and access control (§8), which says who may have any of it."""

from lwm2m.reporting.access import (
    UNCONTROLLED,
    AccessContext,
    Right,
    find_control,
    is_controlled,
    new_control,
    rights_of,
)
from lwm2m.reporting.attribute_table import AttributeTable
from lwm2m.reporting.attributes import (
    ATTRIBUTE_FORMS,
    NO_ATTRIBUTES,
    AttributeChanges,
    NotificationAttributes,
    attribute_query,
    attribute_texts,
    check_consistency,
    check_placement,
    given_fields,
    override,
    parse_attributes,
    parse_observe_parameters,
    with_changes,
)
from lwm2m.reporting.observation_states import (
    OBSERVATION_TRANSITIONS,
    ObservationEvent,
    ObservationState,
)
from lwm2m.reporting.observations import (
    CONFIRMABLE_AT_LEAST_EVERY_S,
    STORED_REPORTS_MAX,
    Notification,
    Observation,
    Report,
    ReportingRules,
)
from lwm2m.reporting.rules import ServerDefaults, rules_for, server_account, server_defaults

__all__ = [
    "ATTRIBUTE_FORMS",
    "CONFIRMABLE_AT_LEAST_EVERY_S",
    "NO_ATTRIBUTES",
    "OBSERVATION_TRANSITIONS",
    "STORED_REPORTS_MAX",
    "UNCONTROLLED",
    "AccessContext",
    "AttributeChanges",
    "AttributeTable",
    "Notification",
    "NotificationAttributes",
    "Observation",
    "ObservationEvent",
    "ObservationState",
    "Report",
    "ReportingRules",
    "Right",
    "ServerDefaults",
    "attribute_query",
    "attribute_texts",
    "check_consistency",
    "check_placement",
    "find_control",
    "given_fields",
    "is_controlled",
    "new_control",
    "override",
    "parse_attributes",
    "parse_observe_parameters",
    "rights_of",
    "rules_for",
    "server_account",
    "server_defaults",
    "with_changes",
]
