"""The metrics of every component: which count, of what kind, and what it means. Data.

`docs/reference/metrics.md` is printed from it; a count without a row fails a test.
"""

from __future__ import annotations

from typing import Final

from contracts.metrics import Kind, MetricRow, MetricTable

COMPONENTS: Final[dict[str, str]] = {
    "provisioning": "Provisioning",
    "bootstrap": "The bootstrap handler",
    "bridge": "A bridge",
    "control": "Control",
    "ingestion": "Ingestion",
    "identity": "Identity",
    "audit": "Audit",
    "dashboard": "The dashboard",
    "lwm2m_server": "The LwM2M server emulator",
    "bootstrap_server": "The LwM2M bootstrap server emulator",
}

_C: Final[Kind] = "counter"
_G: Final[Kind] = "gauge"

_RULES: Final = (
    ("rules.received", _C, "messages that came from the broker"),
    ("rules.matched.*", _C, "messages that a rule took", "rule"),
    ("rules.unmatched", _C, "messages that no rule took"),
    ("rules.not_json", _C, "messages that a rule looks into and that are no JSON"),
    ("rules.overflowed", _C, "messages not acknowledged because too many were under way"),
    ("rules.acknowledged", _C, "messages that were done with and acknowledged to the broker"),
    ("rules.retried", _C, "further tries after one that failed"),
    ("rules.dead_letters", _C, "messages given up after all tries"),
    ("rules.dead_letters_not_kept", _C, "messages given up that could not be kept either"),
)
_OUTBOX: Final = (
    ("audit.sent", _C, "acts that the audit component took"),
    ("audit.retried", _C, "tries to send acts that failed"),
    ("audit.refused_full", _C, "acts refused because too many wait to be sent"),
    ("audit.ends_unwritten", _C, "ends of acts kept in memory because the disk did not take them"),
)
_CONNECTIONS: Final = (
    ("connections", _G, "connections by TCP or TLS"),
    ("connections_half_open", _G, "connections whose peer is not known yet"),
    ("connections_refused", _C, "connections that were not let in"),
    ("dtls_*", _C, "what its DTLS socket counted", "what"),
)

_ROWS: Final[dict[str, tuple[tuple[str, Kind, str] | tuple[str, Kind, str, str], ...]]] = {
    "provisioning": (
        ("imports_waiting", _G, "imports that wait for their turn"),
        ("graph_away_s", _G, "seconds for which the device graph could not be followed; 0 is good"),
        ("renewals.told", _C, "renewed credentials that the bootstrap handler was told of"),
        ("renewals.driven", _C, "of these, devices that it sent them to at once"),
        ("renewals.not_registered", _C, "of these, devices that were not registered"),
        ("renewals.dropped", _C, "renewals not told because too many waited"),
        ("brokers.told", _C, "times that a broker was told of changed certificates"),
        ("brokers.failed", _C, "times that telling a broker failed"),
        *_OUTBOX,
    ),
    "bootstrap": (
        ("published", _C, "sealed credentials handed to the broker's client"),
        ("acknowledged", _C, "of these, acknowledged by the broker"),
        ("queue_full", _C, "sealed credentials that found the client's queue full"),
        ("store_failed", _C, "rows that could not be kept"),
        ("drive_failed", _C, "devices that could not be driven again for an error of their own"),
        ("ignored.*", _C, "registrations that need nothing, or that nothing can be done for",
         "reason"),
        ("pending", _G, "devices whose credentials are not confirmed yet"),
        ("queued", _G, "of these, those that wait for their bridge"),
        ("on_their_way", _G, "of these, those that are at their bridge"),
        ("confirmed", _C, "devices that have their credentials"),
        ("given_up", _C, "devices given up until they register again"),
        ("given_up_unwritten", _C, "of these, not written because the disk took nothing"),
        ("ended", _C, "devices that left before they had their credentials"),
        ("absent", _C, "devices that are no longer of interest"),
        ("had_to_queue", _C, "drives that had to wait for others of their bridge"),
        ("asked_again", _C, "devices that registered while their credentials were on their way"),
        ("driven_again", _C, "credentials that were sent again"),
        ("still_under_way", _C, "drives that were late and still with their bridge"),
        ("confirmed_something_else", _C, "confirmations of another version than the one sent"),
        *_RULES,
    ),
    "bridge": (
        ("events", _C, "events of the server"),
        ("events_repeated", _C, "events that were there already"),
        ("events_of_another_server", _C, "events that name another server"),
        ("gaps", _C, "gaps in the numbers of the events: the server forgot some"),
        ("snapshots", _C, "snapshots of all registrations that were taken"),
        ("kinds_illegal", _C, "events of a kind that cannot be a level of a topic"),
        ("endpoints_illegal", _C, "endpoint names that cannot be a level of a topic"),
        ("registrations_malformed", _C, "registrations that could not be read"),
        ("registrations_superseded", _C, "registrations that a newer one elsewhere replaced"),
        ("results_malformed", _C, "results that could not be read"),
        ("results_repeated", _C, "results that were there already"),
        ("frames_malformed", _C, "frames of the server that could not be read"),
        ("frames_of_unknown_type", _C, "frames of a type that this bridge does not know"),
        ("frames_refused", _C, "frames that the server refused"),
        ("publishes_acknowledged", _C, "messages that the broker acknowledged"),
        ("messages_dropped_while_offline", _C, "messages dropped while the server was away"),
        ("messages_on_other_topics", _C, "messages on topics that are none of a bridge's"),
        ("commands_passed_on", _C, "commands given to the server"),
        ("commands_not_held", _C, "commands to devices that this server does not hold"),
        ("commands_malformed", _C, "commands that could not be read"),
        ("commands_for_another_endpoint", _C, "commands that name another device than their topic"),
        ("commands_for_another_holder", _C, "commands for another registration"),
        ("commands_with_a_reserved_id", _C, "commands with an id that is the bridge's own"),
        ("notices_malformed", _C, "holder notices that could not be read"),
        ("notices_for_another", _C, "holder notices for another bridge or device"),
        ("notices_of_ended_registrations", _C, "holder notices for what is gone already"),
        ("credentials_begun", _C, "procedures begun to write a device's credentials"),
        ("credentials_completed", _C, "of these, completed"),
        ("credentials_given_up", _C, "of these, given up after all tries"),
        ("credentials_overdue", _C, "of these, dropped because an outcome was overdue"),
        ("credentials_registration_ended", _C, "of these, ended with their registration"),
        ("credentials_refused_by_server", _C, "of these, refused by the server"),
        ("credentials_outcomes_ignored", _C, "outcomes that no procedure waits for"),
        ("credentials_already_running", _C, "credentials for a device that gets some already"),
        ("credentials_waiting_already", _C, "credentials for a device that waits already"),
        ("credentials_over_limit", _C, "credentials dropped because too many wait"),
        ("credentials_malformed", _C, "sealed credentials that could not be read"),
        ("credentials_cannot_be_opened", _C, "sealed credentials for another key"),
        ("credentials_for_another", _C, "credentials for another bridge or device"),
        ("credentials_for_another_registration", _C, "credentials for another registration"),
        ("credentials_not_held", _C, "credentials for devices that this server does not hold"),
    ),
    "control": (
        ("commands", _C, "commands that were taken"),
        ("open_commands", _G, "commands without a final state"),
        ("succeeded", _C, "commands that the device did"),
        ("refused", _C, "commands that the device refused"),
        ("failed", _C, "commands that no device was asked"),
        ("expired", _C, "commands whose time was over"),
        ("cancelled", _C, "commands that were taken back"),
        ("unknown", _C, "commands of which nobody knows whether they were done"),
        ("cancellations", _C, "requests to take a command back"),
        ("published", _C, "commands published"),
        ("published_again", _C, "commands published again"),
        ("published_without_holder", _C, "commands published while no bridge holds the device"),
        ("waits_for_holder", _C, "commands that wait for a bridge that holds the device"),
        ("asked_back", _C, "commands whose outcome was asked for again"),
        ("followed", _C, "commands that followed their device to another server"),
        ("not_sent_to_another_log", _C, "commands not sent to a server that began anew"),
        ("outcomes_repeated", _C, "outcomes that were there already"),
        ("older_registrations", _C, "registrations older than the one that is known"),
        ("registrations_overtaken", _C, "registrations replaced before they were kept"),
        ("queue_full", _C, "commands that found the client's queue full"),
        ("states_not_kept", _C, "changes of state that could not be kept at the first try"),
        ("ignored.*", _C, "messages that were not for control", "reason"),
        ("groups.turns", _C, "commands of groups that had their turn"),
        ("groups.waited_for_disk", _C, "times that groups waited for the disk"),
        ("bridge_statuses", _C, "statuses of bridges"),
        ("bridge_statuses_old", _C, "statuses of bridges that a newer one had overtaken"),
        ("bridge_statuses_malformed", _C, "statuses of bridges that could not be read"),
        ("bridge_statuses_of_another", _C, "statuses that name another bridge than their topic"),
        *_RULES,
    ),
    "ingestion": (
        ("packs", _C, "packs taken since the stores were made"),
        ("stored", _C, "readings stored since then"),
        ("duplicates", _C, "readings that were there already"),
        ("conflicts", _C, "readings that differ from what is stored for their time"),
        ("alarms", _C, "alarms stored"),
        ("dead_letters", _C, "messages that could not be stored"),
        ("backlog", _G, "packs that are spooled and not yet stored"),
    ),
    "identity": (
        ("sign_ins", _C, "sign-ins"),
        ("sign_ins_refused", _C, "sign-ins with a wrong name or password"),
        ("sign_ins_while_locked", _C, "sign-ins refused because of wrong ones before"),
        ("sign_ins_too_many", _C, "sign-ins refused because too many wait to be checked"),
        ("sign_ins_too_many_from_address", _C, "sign-ins refused because too many of their address "
         "wait to be checked"),
        ("sign_ins_address_spent", _C, "sign-ins refused because too many of their address were "
         "wrong"),
        ("client_addresses_not_believed", _C, "sign-ins that named their client's address without "
         "a credential for it"),
        ("refreshes", _C, "access tokens issued for a refresh token"),
        ("sessions_revoked", _C, "sessions ended because a refresh token came twice"),
        ("key_rotations", _C, "changes of the signing key"),
        *_OUTBOX,
    ),
    "audit": (
        ("kept", _C, "entries kept"),
        ("head", _G, "number of the newest entry"),
        ("archived", _C, "entries archived"),
        ("archive_failed", _C, "times that archiving failed"),
        ("write_failed", _C, "times that the log could not be written"),
        ("sign_failed", _C, "times that the log's head could not be signed"),
        ("refused_waiting", _C, "entries refused because too many wait for the disk"),
        *_RULES,
    ),
    "dashboard": (
        ("sessions", _G, "sessions"),
        ("sign_ins", _C, "sign-ins"),
        ("sign_ins.refused", _C, "sign-ins that identity refused"),
        ("sign_outs", _C, "sign-outs"),
        ("reopened", _C, "sessions taken up again after a restart"),
        ("refreshes", _C, "access tokens fetched for a session"),
        ("refreshes.refused", _C, "sessions that identity ended"),
        ("live_feeds", _G, "open live feeds"),
        ("devices_with_state", _G, "devices whose state is in memory"),
        ("changes", _C, "changes heard from ingestion"),
        ("passed_on.*", _C, "requests passed on to a component", "to"),
    ),
    "lwm2m_server": (
        ("registrations", _G, "registrations"),
        ("registrations_in_queue_mode", _G, "of these, in queue mode"),
        ("observations", _G, "observations"),
        ("notifications_dropped", _C, "notifications dropped"),
        ("events_newest", _C, "number of the newest event"),
        ("events_acknowledged", _C, "number of the newest event that the bridge acknowledged"),
        ("events_kept", _G, "events that are kept"),
        ("events_dropped", _C, "events dropped before anybody acknowledged them"),
        ("commands_open", _G, "commands without an outcome"),
        ("commands_kept", _G, "commands that are remembered"),
        ("oscore_contexts", _G, "OSCORE contexts"),
        ("refused_*", _C, "what was refused", "reason"),
        *_CONNECTIONS,
    ),
    "bootstrap_server": (
        ("sessions_running", _G, "bootstrap sessions under way"),
        ("sessions_begun", _C, "bootstrap sessions begun"),
        ("sessions_*", _C, "bootstrap sessions by how they ended", "end"),
        ("packs_given", _C, "packs given to devices that asked for one"),
        ("refused_*", _C, "what was refused", "reason"),
        ("datagram_*", _C, "datagrams that were refused", "reason"),
        *_CONNECTIONS,
    ),
}  # fmt: skip

METRICS: Final = tuple(
    MetricRow(component, *row) for component, rows in _ROWS.items() for row in rows
)


def metrics_of(component: str) -> MetricTable:
    """The table of one component. Raises `KeyError` for one that has none."""
    return MetricTable(MetricRow(component, *row) for row in _ROWS[component])
