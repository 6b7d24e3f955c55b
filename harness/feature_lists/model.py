"""Content formats, objects and security."""

from __future__ import annotations

from typing import Final

from harness.features import AIOCOAP, NO, NOT_ITS, YES, Feature, Group

_PAYLOAD: Final = "lwm2m/codecs/test_payload.py::test_"
_S_EVERY: Final = "harness/lwm2m_server/test_every_operation.py::test_"
_D_MANAGE: Final = "fake_devices/device/test_management.py::test_"
_D_ETS: Final = "fake_devices/device/test_ets_management.py::test_"
_DTLS: Final = "lwm2m/transport/test_dtls_handshakes.py::test_"
_CERTIFICATES: Final = "lwm2m/transport/test_dtls_certificates.py::test_"
_RECORDS: Final = "lwm2m/transport/test_dtls_records.py::test_"
_FLEET: Final = "fake_devices/fleet/test_security.py::test_"
_FLEET_FILES: Final = "fake_devices/fleet/test_credential_files.py::test_"
_S_SECURE: Final = "harness/lwm2m_server/test_live_security.py::test_"
_S_OSCORE: Final = "harness/lwm2m_server/test_live_oscore.py::test_"
_OSCORE: Final = "lwm2m/transport/test_oscore.py::test_"
_BS_LIVE: Final = "harness/bootstrap_server/test_live.py::test_"
_OBJECTS: Final = "lwm2m/objects/"
_LIMITS: Final = "harness/test_features.py::test_"

FORMATS: Final = Group(
    "Content formats",
    (
        Feature("plain text (0)", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "one_value_is_read_and_written_in_the_formats_of_one",
                 _D_ETS + "int_201_single_resources_are_read_as_text")),
        Feature("link format (40)", "1.0", YES, YES, YES,
                ("lwm2m/codecs/test_link_format.py::test_documents_decode_to_their_links",)),
        Feature("octet stream (42)", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "opaque_values_go_in_every_format",
                 _D_MANAGE + "a_text_is_no_octet_stream")),
        Feature("CBOR (60)", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "one_value_is_read_and_written_in_the_formats_of_one",
                 _D_ETS + "int_211_single_resources_are_read_as_cbor")),
        Feature("SenML JSON (110) and SenML CBOR (112)", "1.1", YES, YES, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "a_pack_comes_in_the_format_that_was_asked_for",
                 _D_ETS + "int_233_234_senml_writes_at_instance_and_resource_level")),
        Feature("SenML-ETCH JSON (320) and CBOR (322)", "1.1", YES, NOT_ITS, YES,
                (_S_EVERY + "paths_in_an_etch_format_are_answered_in_senml",
                 "fake_devices/device/test_composite.py::test_"
                 "null_in_a_composite_write_removes_a_resource_instance")),
        Feature("TLV (11542)", "1.0", YES, YES, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "writes_are_in_the_format_that_the_plan_the_client_or_its_version_chooses",
                 _D_ETS + "int_203_204_231_232_the_device_object_is_read_in_a_format_of_"
                 "many_values")),
        Feature("OMA JSON (11543)", "1.0", YES, NOT_ITS, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 _D_MANAGE + "a_device_speaks_the_formats_of_its_version"),
                "devices of 1.1 and newer answer 4.06 and 4.15"),
        Feature("LwM2M CBOR (11544)", "1.2", YES, YES, YES,
                (_S_EVERY + "what_is_there_is_read_at_every_level",
                 "lwm2m/bootstrap/test_server.py::test_"
                 "a_pack_comes_in_the_format_that_was_asked_for",
                 _D_MANAGE + "a_device_speaks_the_formats_of_its_version")),
        Feature("numbers from before 1.0 (1541 to 1544)", "–", YES, NOT_ITS, YES,
                (_PAYLOAD + "numbers_from_before_lwm2m_1_0_are_read",
                 _D_MANAGE + "legacy_numbers_are_read_as_what_they_mean"),
                "they are read and never sent"),
        Feature("any other format", "–", NO, NO, NO,
                (_LIMITS + "an_unknown_format_is_4_15_to_write_and_4_06_to_read",),
                "4.15 to what is written, 4.06 to what is asked for by Accept"),
    ),
)  # fmt: skip

OBJECTS: Final = Group(
    "Objects",
    (
        Feature("built-in definitions: 0 to 7, 10 to 12, 16, 19 to 24, 3200 to 3350, 3410 to 3439, "
                "3441, 3442, 10379, 18830, 18831", "–", YES, YES, YES,
                (_OBJECTS + "test_models.py::test_the_objects_that_come_along_are_those_of_the_"
                 "manual",)),
        Feature("definitions of a user's own, as OMA XML", "–", YES, NO, YES,
                ("harness/test_objects_command.py::test_a_good_file_has_no_problems",
                 "fake_devices/kit/test_declarations.py::test_"
                 "an_object_of_the_makers_own_is_declared_by_its_xml"),
                "the bootstrap server refuses an entry with values of an object that it does not "
                "know"),
        Feature("several versions of one object side by side", "1.1", YES, NOT_ITS, YES,
                (_OBJECTS + "test_registry.py::test_a_device_gets_the_versions_that_it_names",)),
        Feature("values checked by type, range and multiplicity", "1.0", YES, YES, YES,
                (_S_EVERY.replace("every_operation", "commands") +
                 "what_cannot_be_a_request_is_invalid_and_nothing_is_sent",
                 _D_MANAGE + "a_write_is_answered_as_the_standard_says")),
        Feature("APN, cell and other connection objects (10 to 12) beyond their values", "1.0",
                NOT_ITS, NOT_ITS, NO, (),
                "devices that have them keep what is written; no modem follows it"),
    ),
)  # fmt: skip

SECURITY: Final = Group(
    "Security",
    (
        Feature("DTLS 1.2 with pre-shared keys: CCM_8, CCM, GCM, CBC", "1.0, RFC 6347", YES, YES,
                YES,
                (_DTLS + "each_suite_carries_data_both_ways",
                 _S_SECURE + "a_device_with_a_key_registers_and_obeys_over_dtls",
                 _BS_LIVE + "a_device_asks_to_be_bootstrapped_and_registers",
                 _FLEET + "a_fleet_with_pre_shared_keys_registers_over_dtls")),
        Feature("DTLS 1.2 with certificates on both sides", "1.0, RFC 6347", YES, YES, YES,
                (_S_SECURE + "a_device_with_a_certificate_is_the_endpoint_that_it_names",
                 _BS_LIVE + "a_device_with_a_certificate_is_bootstrapped_under_its_own_name_alone",
                 _FLEET + "a_fleet_with_certificates_registers_over_dtls")),
        Feature("the endpoint name is bound to the identity", "1.0", YES, YES, NOT_ITS,
                ("harness/lwm2m_server/test_sessions.py::test_"
                 "another_endpoint_name_than_the_credentials_is_refused_and_counted",
                 "harness/bootstrap_server/test_core.py::test_"
                 "a_client_may_not_ask_under_another_name_than_its_credentials")),
        Feature("cookies, repetition of flights, replay window", "RFC 6347", YES, YES, YES,
                ("lwm2m/transport/test_dtls_limits.py::test_"
                 "thousands_of_hellos_without_cookie_leave_nothing_behind",
                 "lwm2m/transport/test_dtls_network.py::test_"
                 "an_unanswered_flight_is_repeated_after_1_2_4_8_16_seconds_then_given_up")),
        Feature("session resumption by tickets", "RFC 5077", YES, YES, YES,
                (_DTLS + "a_second_session_resumes_the_first_and_is_the_same_peer_by_name",)),
        Feature("session resumption by session id", "RFC 5246", NO, NO, NO,
                (_DTLS + "without_resumption_no_ticket_is_given",),
                "a full handshake"),
        Feature("server's own certificate pinned (/0/x/4), SNI (/0/x/14)", "1.0, 1.1", NOT_ITS,
                YES, YES,
                (_CERTIFICATES + "a_pinned_server_is_taken_with_and_without_a_chain",
                 _FLEET_FILES + "accounts_become_credentials_or_nothing")),
        Feature("certificate usage 0 to 2 and matching types (/0/x/13, /0/x/15)", "1.1", NOT_ITS,
                NO, NO, (),
                "they are kept; a device takes the certificate of /0/x/4 itself, and with "
                "`trust_anchor_file` a chain to it"),
        Feature("suites chosen by /0/x/16", "1.1", NOT_ITS, NO, NO, (),
                "it is kept; all suites are offered"),
        Feature("intermediate certificates of a device", "1.0", YES, YES, NO,
                (_CERTIFICATES + "a_certificate_that_does_not_hold_is_refused_and_counted_by_"
                 "reason",),
                "devices send their own certificate alone: a server must know its issuer"),
        Feature("raw public keys", "1.0, RFC 7250", NO, NO, NO,
                (_LIMITS + "raw_public_keys_are_no_suite_and_no_account",),
                "the alert `handshake_failure`; an account with mode 1 makes Finish 4.06"),
        Feature("DTLS connection ids", "1.2, RFC 9146", NO, NO, NO,
                (_LIMITS + "a_connection_id_is_not_taken_up_and_the_session_works_without",),
                "the extension is not answered, and the session goes on without: a device whose "
                "address changed makes a new one"),
        Feature("DTLS 1.3", "1.2, RFC 9147", NO, NO, NO,
                (_LIMITS + "a_client_of_another_dtls_version_is_refused",),
                "a client that offers 1.2 as well gets it; any other the alert "
                "`protocol_version`"),
        Feature("DTLS 1.0", "RFC 4347", NO, NO, NO,
                (_LIMITS + "a_client_of_another_dtls_version_is_refused",),
                "the alert `protocol_version`"),
        Feature("certificates by EST", "1.1, RFC 9148", NO, NO, NO,
                (_LIMITS + "an_account_with_est_is_not_finished",),
                "an account with mode 4 makes Finish 4.06; `/est` is answered 4.04"),
        Feature("OSCORE", "1.1, RFC 8613", AIOCOAP, NO, NO,
                (_S_OSCORE + "protected_and_plain_devices_are_served_side_by_side",
                 "interop/test_aiocoap_server_transports.py::test_"
                 "aiocoap_and_our_server_agree_over_every_transport"),
                "the bootstrap server answers 4.02; devices keep /21 and speak DTLS or plain CoAP; "
                "the server takes contexts from `oscore_file` or PUT /v1/oscore, not from /21"),
        Feature("Echo on first contact by OSCORE", "1.1, RFC 8613 B.1.2", AIOCOAP, NO, NO,
                (_OSCORE + "first_contact_may_be_made_to_prove_itself",),
                "as above"),
        Feature("key rotation of OSCORE's appendix B.2", "RFC 8613", NO, NO, NO,
                (_OSCORE + "who_has_another_key_or_id_is_refused",),
                "4.01 for the unknown context"),
        Feature("Group OSCORE", "RFC 9594 and drafts", NO, NO, NO,
                (_OSCORE + "any_option_and_payload_is_refused_and_nothing_else",),
                "4.02 for the option's reserved bits"),
        Feature("EDHOC", "RFC 9528", NO, NO, NO, (), "`/.well-known/edhoc` is answered 4.04"),
        Feature("COSE of the MQTT binding (objects 23, 24)", "1.2", NO, NO, NO,
                ("fake_devices/device/test_management.py::test_"
                 "a_read_of_what_is_not_there_is_refused",),
                "kept by devices, read by nobody (4.01); there is nothing that uses them"),
        Feature("no security", "1.0", YES, YES, YES,
                ("harness/lwm2m_server/test_live.py::test_a_device_registers_is_told_of_and_obeys",
                 _BS_LIVE + "a_device_asks_to_be_bootstrapped_and_registers",
                 "fake_devices/fleet/test_fleet.py::test_a_fleet_comes_online_and_reports")),
    ),
)  # fmt: skip
