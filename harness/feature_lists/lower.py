"""Transports, and CoAP with its extensions."""

from __future__ import annotations

from typing import Final

from harness.features import NO, NOT_ITS, YES, Feature, Group, Support

_TCP: Final = "lwm2m/transport/test_reliable.py::test_"
_TCP_FRAMES: Final = "lwm2m/transport/test_reliable_frames.py::test_"
_TCP_BLOCKS: Final = "lwm2m/transport/test_reliable_blocks.py::test_"
_S_TCP: Final = "harness/lwm2m_server/test_live_connections.py::test_"
_BS_LIVE: Final = "harness/bootstrap_server/test_live.py::test_"
_C: Final = "lwm2m/coap/"
_LIMITS: Final = "harness/test_features.py::test_"
# All three share one CoAP core.
_ALL: Final[tuple[Support, Support, Support]] = (YES, YES, YES)
_NONE: Final[tuple[Support, Support, Support]] = (NO, NO, NO)

TRANSPORT: Final = Group(
    "Transports",
    (
        Feature("UDP", "1.0", *_ALL,
                ("harness/lwm2m_server/test_live.py::test_a_device_registers_is_told_of_and_obeys",
                 _BS_LIVE + "a_device_asks_to_be_bootstrapped_and_registers",
                 "fake_devices/fleet/test_fleet.py::test_a_fleet_comes_online_and_reports")),
        Feature("TCP", "1.1, RFC 8323", YES, YES, NO,
                (_S_TCP + "a_device_registers_and_obeys_over_tcp_and_its_connections_are_counted",
                 _BS_LIVE + "a_device_asks_over_a_connection_and_its_end_ends_the_session"),
                "a device that is given a `coap+tcp` account cannot use it: its registration "
                "fails"),
        Feature("TLS with certificates", "1.1, RFC 8323", YES, YES, NO,
                (_S_TCP + "a_certificate_says_who_a_device_is",
                 "lwm2m/transport/test_aiocoap_tcp.py::test_tls_shows_who_the_client_is"),
                "as above"),
        Feature("TLS with pre-shared keys", "1.1", *_NONE, (),
                "the alert `handshake_failure`: no suite is shared"),
        Feature("WebSocket", "1.2.1, RFC 8323", *_NONE, (),
                "nobody listens: an HTTP Upgrade on the port of TCP is aborted as no CSM"),
        Feature("tokens of more than 8 bytes over TCP", "RFC 8974", *_NONE,
                (_TCP_FRAMES + "any_bytes_are_taken_or_abort_the_connection",), "the connection is "
                "aborted"),
        Feature("BERT, received", "RFC 8323", YES, YES, NOT_ITS,
                (_TCP_BLOCKS + "bert_blocks_are_understood_and_confirmed",)),
        Feature("BERT, sent", "RFC 8323", NO, NO, NOT_ITS,
                (_TCP_BLOCKS + "a_body_beyond_the_peers_largest_message_goes_in_blocks",),
                "blocks of 1,024 bytes"),
        Feature("Custody, Alternative-Address, Hold-Off", "RFC 8323", NO, NO, NOT_ITS,
                (_TCP + "release_lets_what_is_asked_be_answered_first",),
                "read and ignored"),
        Feature("SMS", "1.0", *_NONE, (), "`b=S` is kept and told; no message is sent or heard"),
        Feature("MQTT binding", "1.2", *_NONE, (),
                "`b=M` is kept and told; the broker's policy has no `lwm2m/rd` topics: what is "
                "published there is refused. (Readings over MQTT are the platform's own, not "
                "this binding.)"),
        Feature("HTTP binding", "1.2", *_NONE, (), "`b=H` is kept and told; nobody listens"),
        Feature("non-IP: NIDD, LoRaWAN", "1.1", *_NONE, (),
                "`b=N` is kept and told; nobody listens"),
    ),
)  # fmt: skip

COAP: Final = Group(
    "CoAP",
    (
        Feature("messages, retransmission, duplicates", "RFC 7252", *_ALL,
                (_C + "test_exchange.py::TestAsking::test_retransmissions_double_their_wait_and_"
                 "end_as_a_"
                 "timeout",
                 _C + "test_answering.py::TestDuplicates::test_a_duplicate_gets_the_same_answer_"
                 "and_is_not_told")),
        Feature("separate responses, non-confirmable messages, Reset", "RFC 7252", *_ALL,
                (_C + "test_answering.py::TestAnswering::test_a_late_answer_is_a_separate_"
                 "confirmable_response",
                 _C + "test_exchange.py::TestAsking::test_a_non_confirmable_request_is_sent_once")),
        Feature("NSTART, probing rate, parameters as configuration", "RFC 7252", *_ALL,
                (_C + "test_exchange.py::TestNstart::test_a_second_request_waits_for_the_first",
                 _C + "test_probing.py::test_a_second_request_waits_as_long_as_the_first_has_bytes",
                 _C + "test_parameters.py::test_the_derived_times_are_those_of_rfc_7252")),
        Feature("critical options, 4.02 for unknown ones", "RFC 7252", *_ALL,
                (_C + "test_answering.py::TestAnswering::test_an_unknown_critical_option_is_"
                 "answered_bad_option",)),
        Feature("ETag, If-Match, If-None-Match, Max-Age", "RFC 7252", *_ALL,
                (_C + "test_conditions.py::test_preconditions_reach_an_application_that_acts_on_"
                 "them",),
                "the CoAP core has them; LwM2M's operations do not use them: If-Match is answered "
                "4.02"),
        Feature("proxies", "RFC 7252", *_NONE,
                (_C + "test_answering.py::TestAnswering::test_proxying_is_not_supported",), "5.05"),
        Feature("multicast", "RFC 7252", *_NONE, (), "nobody joins a group"),
        Feature("`/.well-known/core`", "RFC 6690", NO, NO, NO,
                (_LIMITS + "what_is_no_path_of_lwm2m_is_not_found",), "4.04"),
        Feature("caching of answers", "RFC 7252", *_NONE, (), "every read asks the device"),
        Feature("FETCH, PATCH, iPATCH", "RFC 8132", *_ALL,
                ("lwm2m/transport/test_oscore.py::test_every_method_is_carried_whole",
                 "fake_devices/device/test_management.py::test_patch_means_nothing_here"),
                "LwM2M has no PATCH: 4.05"),
        Feature("Observe: order, freshness, congestion, both cancellations", "RFC 7641", *_ALL,
                (_C + "test_observe.py::test_a_notification_that_was_overtaken_is_not_told",
                 _C + "test_notifying.py::TestConfirmable::test_a_retransmission_carries_the_"
                 "newest_state_and_waits_"
                 "twice_as_long",
                 _C + "test_observing.py::TestEnding::test_it_is_the_same_request_with_observe_1_"
                 "and_the_same_"
                 "token")),
        Feature("Block1 and Block2, early negotiation, sizes", "RFC 7959", *_ALL,
                (_C + "test_blockwise.py::TestAsking::test_a_body_goes_up_and_comes_back_whole",
                 _C + "test_blockwise.py::TestServingBlock2::test_the_client_may_ask_for_smaller_"
                 "blocks_early",
                 _C + "test_blockwise.py::TestServingBlock2::test_the_size_is_told_when_it_is_"
                 "asked_for")),
        Feature("blocks in any order (Q-Block)", "RFC 9177", *_NONE,
                (_LIMITS + "robust_blocks_are_a_bad_option",), "4.02 for the critical option"),
        Feature("extended tokens over UDP", "RFC 8974", *_ALL,
                (_C + "test_tokens.py::test_our_tokens_are_as_long_as_configured_and_come_back",)),
        Feature("stateless tokens' trial and fallback", "RFC 8974", *_ALL,
                (_C + "test_tokens.py::test_a_peer_that_resets_an_extended_token_is_asked_again_"
                 "with_a_short_one",)),
        Feature("Echo", "RFC 9175", *_ALL,
                (_C + "test_echo.py::TestAsking::test_a_request_is_repeated_once_with_the_value_"
                 "it_was_given",
                 _C + "test_echo.py::TestAmplification::test_a_long_answer_to_an_unknown_address_"
                 "is_cut_into_small_"
                 "blocks")),
        Feature("Request-Tag", "RFC 9175", *_ALL,
                (_C + "test_request_tags.py::TestAsking::test_two_bodies_to_one_target_at_once_"
                 "are_told_"
                 "apart",)),
        Feature("5.03 with Max-Age above a rate", "RFC 7252", *_ALL,
                (_C + "test_overload.py::test_what_comes_faster_than_admitted_is_answered_5_03_"
                 "with_max_age",)),
        Feature("CoCoA and other congestion control", "drafts", *_NONE, (),
                "the back-off of RFC 7252, the rate of RFC 7641 §4.5"),
    ),
)  # fmt: skip
