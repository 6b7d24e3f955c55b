"""The four interfaces of LwM2M."""

from __future__ import annotations

from typing import Final

from harness.features import NO, NOT_ITS, YES, Feature, Group

_BS_CORE: Final = "harness/bootstrap_server/test_core.py::test_"
_BS_LIVE: Final = "harness/bootstrap_server/test_live.py::test_"
_D_BS: Final = "fake_devices/device/test_bootstrapping.py::test_"
_D_PHASE: Final = "fake_devices/device/test_bootstrap_phase.py::test_"
_S_REG: Final = "harness/lwm2m_server/test_registration.py::test_"
_S_QUEUE: Final = "harness/lwm2m_server/test_queue_mode.py::test_"
_S_EVERY: Final = "harness/lwm2m_server/test_every_operation.py::test_"
_S_OBS: Final = "harness/lwm2m_server/test_observations.py::test_"
_S_SENDS: Final = "harness/lwm2m_server/test_sends.py::test_"
_S_CMD: Final = "harness/lwm2m_server/test_commands.py::test_"
_D_SERVERS: Final = "fake_devices/device/test_servers.py::test_"
_D_REG: Final = "fake_devices/device/test_registration.py::test_"
_D_MANAGE: Final = "fake_devices/device/test_management.py::test_"
_D_DOWNLINK: Final = "fake_devices/device/test_downlink.py::test_"
_D_ETS: Final = "fake_devices/device/test_ets_management.py::test_"
_D_REPORT: Final = "fake_devices/device/test_ets_reporting.py::test_"
_D_OBS: Final = "fake_devices/device/test_observing.py::test_"
_D_COMPOSITE: Final = "fake_devices/device/test_composite.py::test_"
_NOTIFIES: Final = "lwm2m/reporting/test_observations.py::test_"
_CONDITIONS: Final = "lwm2m/reporting/test_conditions.py::test_"
_HISTORY: Final = "lwm2m/reporting/test_history.py::test_"
_RULES: Final = "lwm2m/reporting/test_rules.py::test_"
_ATTRIBUTES: Final = "lwm2m/reporting/test_attributes.py::test_"
_LIMITS: Final = "harness/test_features.py::test_"

BOOTSTRAP: Final = Group(
    "Bootstrap",
    (
        Feature("Bootstrap-Request, client-initiated", "1.0", NOT_ITS, YES, YES,
                (_BS_LIVE + "a_device_asks_to_be_bootstrapped_and_registers",
                 _D_BS + "ets_0_client_initiated_bootstrap")),
        Feature("preferred content format (`pct`)", "1.1", NOT_ITS, YES, YES,
                ("lwm2m/bootstrap/test_server.py::test_"
                 "a_request_names_its_client_and_the_format_it_prefers",)),
        Feature("Bootstrap-Pack-Request", "1.2", NOT_ITS, YES, YES,
                (_BS_LIVE + "a_device_takes_a_bootstrap_pack_and_registers",
                 _D_BS + "ets_12_a_pack_bootstraps_in_one_answer")),
        Feature("Discover, within bootstrap", "1.0", NOT_ITS, YES, YES,
                (_BS_CORE + "a_known_client_is_discovered_cleared_written_and_finished",
                 _D_PHASE + "discover_tells_version_servers_and_addresses")),
        Feature("Read of /1 and /2", "1.1", NOT_ITS, YES, YES,
                (_D_BS + "ets_8_the_bootstrap_server_reads_what_servers_may_not_change",)),
        Feature("Write of objects, instances and resources", "1.0", NOT_ITS, YES, YES,
                (_BS_CORE + "a_known_client_is_discovered_cleared_written_and_finished",
                 _D_PHASE + "a_whole_object_is_written")),
        Feature("Delete of all, of an object or an instance", "1.0", NOT_ITS, YES, YES,
                (_D_BS + "ets_4_everything_but_the_bootstrap_account_is_deleted_and_"
                 "provisioned_again",
                 _D_PHASE + "delete_all_keeps_the_bootstrap_account_and_the_device")),
        Feature("Finish, 4.06 for what is inconsistent", "1.0", NOT_ITS, YES, YES,
                (_D_BS + "ets_9_an_inconsistent_configuration_is_not_finished",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "a_finish_that_is_not_acceptable_fails_the_session")),
        Feature("server-initiated, by executing /1/x/9", "1.1", YES, YES, YES,
                (_BS_LIVE +
                 "a_device_with_a_factory_account_bootstraps_when_its_server_has_it_do_so",
                 _D_BS + "ets_5_the_bootstrap_trigger_sends_a_registered_device_to_its_"
                 "bootstrap_server")),
        Feature("server-initiated, unasked (1.0's)", "1.0", NOT_ITS, NO, YES,
                (_D_BS + "a_bootstrap_server_may_begin_by_itself",),
                "the bootstrap server begins only when it is asked: a device that waits for it "
                "is sent nothing"),
        Feature("factory accounts", "1.0", NOT_ITS, NOT_ITS, YES,
                (_D_BS + "ets_6_a_factory_account_comes_before_the_bootstrap_server",)),
        Feature("smartcard", "1.0", NOT_ITS, NOT_ITS, NO, (),
                "the first source is the factory's; there is nothing to put a card into"),
        Feature("hold-off and account timeout (/0/x/11, /0/x/12)", "1.0", NOT_ITS, NOT_ITS, YES,
                (_D_BS + "the_hold_off_time_counts_before_the_request",
                 _D_BS + "the_bootstrap_account_is_purged_after_its_time")),
        Feature("failed bootstrap is rolled back and tried again", "1.0", NOT_ITS, NOT_ITS, YES,
                (_D_BS + "a_bootstrap_without_finish_is_rolled_back_and_tried_again",)),
        Feature("fallback after failed registrations (/1/x/16)", "1.1", NOT_ITS, NOT_ITS, YES,
                (_D_BS +
                 "ets_7_a_factory_server_that_cannot_be_reached_leads_to_the_bootstrap_server",)),
    ),
)  # fmt: skip

REGISTRATION: Final = Group(
    "Registration",
    (
        Feature("Register, Update, De-register", "1.0", YES, NOT_ITS, YES,
                (_S_REG + "a_registration_is_answered_created_and_told_with_all_it_says",
                 _S_REG + "deregistering_ends_it_once",
                 _D_SERVERS + "ets_101_a_register_says_who_it_is_and_lists_neither_security_nor_"
                 "oscore",
                 _D_SERVERS + "a_device_that_is_switched_off_in_good_order_deregisters")),
        Feature("endpoint name from the credentials (no `ep`)", "1.1", YES, YES, NO,
                ("harness/lwm2m_server/test_sessions.py::test_"
                 "the_credentials_name_a_device_that_does_not",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "security_supplies_the_endpoint_name_that_a_request_leaves_out"),
                "devices always say `ep`"),
        Feature("lifetime, infinite when 0", "1.0", YES, NOT_ITS, YES,
                (_S_REG + "a_lifetime_of_0_never_ends",
                 _D_SERVERS + "ets_102_107_a_lifetime_that_is_written_is_reported_at_once_and_"
                 "kept_to")),
        Feature("versions 1.0, 1.1, 1.2 and the fallback after 4.12", "1.0", YES, NOT_ITS, YES,
                (_S_REG + "the_versions_that_are_served_are_1_0_to_1_2",
                 _D_SERVERS + "a_device_offers_older_versions_until_one_is_taken")),
        Feature("other versions", "–", NO, NOT_ITS, NO,
                (), "4.12 with the versions that are served"),
        Feature("object versions of an older LwM2M after the fallback", "1.1", NOT_ITS, NOT_ITS,
                NO, (), "the device goes on with the object versions that it was born with, and "
                "lists them"),
        Feature("binding letters U, T, S, N, M, H in `b`", "1.0", YES, NOT_ITS, YES,
                (_D_SERVERS + "a_binding_that_is_written_is_reported",
                 _LIMITS + "binding_letters_are_taken_by_their_version"),
                "the letters are kept and told; what goes over them is in *Transports*. A letter "
                "that the version does not know is answered 4.00"),
        Feature("SMS number (`sms`)", "1.0", YES, NOT_ITS, NO,
                ("lwm2m/registration/test_requests.py::test_"
                 "a_register_that_was_written_is_read_again",),
                "it is kept as told; devices have none"),
        Feature("profile ids (`pid`), 4.09 for an unknown one", "1.2", YES, NOT_ITS, NO,
                (_S_REG + "ets_110_a_profile_stands_for_the_object_list",
                 _S_REG + "an_unknown_profile_is_a_conflict"),
                "devices always list their objects"),
        Feature("alternate path (`rt=\"oma.lwm2m\"`)", "1.0", YES, NOT_ITS, NO,
                ("harness/lwm2m_server/test_alternate_path.py::test_"
                 "requests_and_names_carry_the_path_and_values_do_not",),
                "devices' root is `/`; a request for another is answered 4.04"),
        Feature("gateways: prefixes of devices behind one", "Gateway 1.1", NO, NOT_ITS, NO,
                (_LIMITS + "a_gateways_prefix_is_not_found",),
                "links with a prefix are kept and ignored; a device answers 4.04"),
        Feature("registration anew after 4.04", "1.0", YES, NOT_ITS, YES,
                (_S_REG + "update_after_expiry_is_answered_not_found",
                 _D_SERVERS + "ets_105_a_device_that_was_forgotten_registers_again")),
        Feature("retry rules of the Server object (/1/x/17 to 20)", "1.1", NOT_ITS, NOT_ITS, YES,
                (_D_SERVERS + "the_retry_rules_of_the_server_object_count",)),
        Feature("several servers, priorities, blocking (/1/x/13, 14, 15)", "1.1", NOT_ITS,
                NOT_ITS, YES,
                (_D_SERVERS +
                 "ets_950_a_device_registers_with_two_servers_that_each_see_their_own_rules",
                 _D_SERVERS + "servers_are_registered_with_by_priority")),
        Feature("update trigger, with the transport from 1.1 (/1/x/8)", "1.0", YES, NOT_ITS, YES,
                (_D_SERVERS + "ets_104_the_update_trigger_refreshes_without_parameters",
                 _D_SERVERS + "the_triggers_argument_names_the_transport")),
        Feature("disable (/1/x/4, /1/x/5)", "1.0", YES, NOT_ITS, YES,
                (_D_SERVERS +
                 "ets_103_a_disabled_device_deregisters_and_comes_back_after_its_timeout",)),
        Feature("queue mode", "1.0", YES, NOT_ITS, YES,
                (_S_QUEUE + "ets_109_a_read_waits_until_the_device_speaks",
                 _S_QUEUE + "a_device_of_1_0_says_so_in_its_binding",
                 _D_SERVERS + "ets_109_a_device_in_queue_mode_hears_nothing_while_it_sleeps")),
        Feature("5.03 with Max-Age when overloaded", "1.0", YES, YES, YES,
                (_S_REG + "requests_over_the_rate_are_answered_5_03_and_others_are_served",
                 _BS_CORE + "more_sessions_than_there_is_room_for_are_told_when_to_come_back",
                 _D_SERVERS + "a_busy_server_is_asked_again_when_it_says")),
        Feature("reactions to security alerts (/1/x/11)", "1.1", NOT_ITS, NOT_ITS, YES,
                (_D_SERVERS + "an_alert_of_the_server_is_shown_and_ends_the_attempts",)),
    ),
)  # fmt: skip

MANAGEMENT: Final = Group(
    "Device management",
    (
        Feature("Read of an object, an instance, a resource", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 _D_ETS + "int_222_to_225_reads_at_every_level")),
        Feature("Read of a resource instance", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 _D_MANAGE + "a_format_of_one_value_is_read_at_resource_and_resource_instance")),
        Feature("Discover", "1.0", YES, NOT_ITS, YES,
                (_S_CMD + "discovered_links_come_with_their_attributes",
                 _D_ETS + "int_260_discover_at_three_levels")),
        Feature("Discover with `depth`", "1.2", YES, NOT_ITS, YES,
                (_S_EVERY + "operations_without_values",
                 _D_ETS + "int_264_266_discover_with_a_depth")),
        Feature("Write, replacing and partial", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "an_instance_is_replaced_or_updated",
                 _D_ETS + "int_215_220_a_partial_update_keeps_and_a_replacement_removes")),
        Feature("Write of a resource instance", "1.1", YES, NOT_ITS, YES,
                (_D_ETS + "int_228_a_resource_instance_is_written_and_its_siblings_stay",)),
        Feature("Write-Attributes", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "operations_without_values",
                 _D_ETS + "int_261_attributes_are_written_at_three_levels")),
        Feature("Execute with arguments", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "operations_without_values",
                 _D_MANAGE + "arguments_of_an_execute_are_told")),
        Feature("Create, with and without an id", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "an_instance_is_created_with_and_without_id",
                 _D_MANAGE + "an_instance_is_created_in_every_format")),
        Feature("Create of several instances at once", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "several_instances_are_created_at_once",
                 _D_DOWNLINK + "of_several_instances_all_are_created_or_none")),
        Feature("Delete of an instance", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "operations_without_values",
                 _D_MANAGE + "a_delete_is_answered_as_the_standard_says")),
        Feature("Delete of a resource instance", "1.2", YES, NOT_ITS, YES,
                (_D_MANAGE + "a_delete_is_answered_as_the_standard_says",)),
        Feature("Read-Composite", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "several_paths_are_read_and_observed_at_once",
                 _D_ETS + "int_229_280_a_composite_read_gives_exactly_what_is_asked_for")),
        Feature("Write-Composite", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "several_instances_are_written_at_once",
                 _D_COMPOSITE + "a_composite_write_is_carried_out_wholly_or_not_at_all")),
        Feature("`null` in a Write-Composite", "1.2", YES, NOT_ITS, YES,
                (_S_EVERY + "a_composite_write_removes_resource_instances",
                 _D_COMPOSITE + "null_in_a_composite_write_removes_a_resource_instance")),
        Feature("access control (object 2)", "1.0", NOT_ITS, YES, YES,
                ("fake_devices/device/test_access.py::test_"
                 "an_operation_needs_its_right_and_no_other",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "values_of_the_plans_own_keep_their_instances")),
        Feature("firmware update, by push and by pull over CoAP and CoAPS (object 5)", "1.0", YES,
                NOT_ITS, YES,
                ("fake_devices/device/test_firmware.py::test_"
                 "ets_755_770_a_pushed_package_is_installed_and_reported_after_the_reboot",
                 "fake_devices/device/test_firmware.py::test_"
                 "ets_756_771_a_package_is_fetched_from_where_the_uri_says"),
                "the server writes package or URI and serves no packages itself"),
        Feature("firmware by pull over HTTP, HTTPS and CoAP over TCP", "1.0", NOT_ITS, NOT_ITS, NO,
                (_LIMITS + "firmware_over_http_is_an_unsupported_protocol",),
                "result 9 in /5/0/5, *unsupported protocol*"),
    ),
)  # fmt: skip

REPORTING: Final = Group(
    "Information reporting",
    (
        Feature("Observe and Notify", "1.0", YES, NOT_ITS, YES,
                (_S_OBS + "an_observation_has_the_first_value_in_its_outcome_and_the_later_ones_"
                 "as_events", _D_OBS + "every_level_is_observed")),
        Feature("Cancel by Observe 1", "1.1", YES, NOT_ITS, YES,
                (_S_OBS + "an_active_cancellation_asks_with_observe_1_and_the_same_token",
                 _D_REPORT + "int_303_an_observation_ends_with_observe_1")),
        Feature("Cancel by Reset", "1.0", YES, NOT_ITS, YES,
                (_S_OBS + "a_passive_cancellation_answers_the_next_notification_by_reset",
                 _D_REPORT + "int_302_an_observation_ends_when_a_notification_is_reset")),
        Feature("Observe-Composite and its cancellation", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "a_composite_observation_is_notified_and_cancelled",
                 _D_REPORT + "int_305_a_composite_observation_is_cancelled_with_the_same_paths")),
        Feature("Observe with attributes", "1.2", YES, NOT_ITS, YES,
                (_S_OBS + "observe_parameters_go_to_1_2_devices_alone",
                 _D_REPORT + "int_312_attributes_come_with_the_observation")),
        Feature("attributes pmin, pmax", "1.0", YES, NOT_ITS, YES,
                (_NOTIFIES + "notifications_keep_to_the_periods",)),
        Feature("attributes gt, lt, st", "1.0", YES, NOT_ITS, YES,
                (_CONDITIONS + "crossing_the_upper_threshold_is_told_in_either_direction",
                 _CONDITIONS + "a_step_is_counted_from_what_was_told_last")),
        Feature("attributes epmin, epmax", "1.1", YES, NOT_ITS, YES,
                (_CONDITIONS + "values_are_looked_at_once_in_the_maximum_evaluation_period",)),
        Feature("attributes edge, con, hqmax", "1.2", YES, NOT_ITS, YES,
                (_CONDITIONS + "an_edge_tells_of_one_direction",
                 _NOTIFIES + "notifications_are_confirmable_when_asked_for",
                 _HISTORY + "history_is_kept_while_a_notification_waits")),
        Feature("attributes of the level above, per server", "1.0", YES, NOT_ITS, YES,
                (_ATTRIBUTES + "lower_levels_inherit_and_win",
                 _D_REPORT + "int_951_attributes_are_kept_separately_for_each_server")),
        Feature("defaults of the Server object (/1/x/2, 3, 26)", "1.0", NOT_ITS, NOT_ITS, YES,
                (_RULES + "the_server_object_says_the_defaults",)),
        Feature("storing while offline (/1/x/6)", "1.0", NOT_ITS, NOT_ITS, YES,
                (_D_OBS + "what_was_stored_is_told_in_one_notification",)),
        Feature("a confirmable notification in 24 h", "1.0", NOT_ITS, NOT_ITS, YES,
                (_NOTIFIES + "one_notification_in_a_day_is_confirmable",)),
        Feature("history in a notification", "1.2", YES, NOT_ITS, YES,
                (_S_EVERY + "history_in_a_notification_comes_with_its_times",
                 _D_OBS + "what_was_stored_is_told_in_one_notification")),
        Feature("Send, and muting it (/1/x/23)", "1.1", YES, NOT_ITS, YES,
                (_S_SENDS + "what_a_device_sends_is_an_event_with_its_values",
                 _D_REPORT + "int_306_311_two_values_are_sent",
                 _D_REPORT + "int_307_send_is_muted_and_unmuted")),
        Feature("observations are set up again by the server", "1.0", YES, NOT_ITS, NOT_ITS,
                (_S_OBS + "after_a_restart_the_server_asks_again_and_notifications_keep_flowing",)),
    ),
)  # fmt: skip
