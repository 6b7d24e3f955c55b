"""The configuration of the LwM2M server emulator: addresses, files, limits; never a secret."""

from __future__ import annotations

from typing import Literal

import msgspec

from lwm2m.coap import TransmissionParameters
from lwm2m.registration import RegistrationPolicy


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to listen. Port 0 takes a free one; it is told in the ready line."""

    host: str = "127.0.0.1"
    port: int = 0


class ServerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of everything that others can make grow. The defaults fit 100,000 devices."""

    # Registrations held; beyond it Register is answered 5.03.
    registrations_max: int = 200_000
    # Of these, how many of one address that registered without security, whatever its ports:
    # behind one address there may be a whole city's gateway, or one who fills the table alone.
    # Beyond it Register is answered 5.03.
    registrations_per_peer_max: int = 10_000
    # Bytes of any request or answer, block-wise or not; a larger request is answered 4.13.
    payload_bytes_max: int = 65_536
    # Bytes of a Register's object links; beyond it 4.13.
    registration_bytes_max: int = 32_768
    # Commands accepted and without outcome, in total and for one device; beyond it an error frame.
    commands_queued_max: int = 50_000
    commands_per_device_max: int = 32
    # Outcomes kept until their command expires, to answer a repeated id; beyond it an error frame.
    outcomes_kept_max: int = 500_000
    # Observations kept, in total and of one device; an observe beyond it is invalid.
    observations_max: int = 200_000
    observations_per_device_max: int = 64
    # Events that wait for the bridge beyond which notifications are dropped and counted, and Send
    # is answered 5.03: the rest of the log is for registrations and outcomes. The next notification
    # of the same observation that is told says how many were dropped.
    notifications_kept_max: int = 100_000
    # Notifications of one device that are told in a second, whatever they observe, and how many at
    # once; more are dropped likewise. 0: all are told.
    notifications_per_device_per_s: float = 100.0
    notifications_per_device_burst: int = 1_000
    # How long a device in queue mode listens after it was heard, in seconds (LwM2M Core §6.5:
    # CoAP's MAX_TRANSMIT_WAIT).
    awake_s: float = 93.0
    # How far ahead a command may expire, in seconds: it bounds how long outcomes are kept.
    command_lifetime_s_max: float = 86_400.0
    # Events kept until they are acknowledged; beyond it the oldest go and the bridge gets a gap.
    events_kept_max: int = 200_000
    # And bytes of them, in memory and, until the next compaction twice as many, in the log.
    events_bytes_max: int = 134_217_728
    # Events sent to the bridge and not yet acknowledged; beyond it the server waits.
    events_in_flight_max: int = 20_000
    # One frame of the data interface.
    frame_bytes_max: int = 1_048_576
    # Answers to frames (results, errors) that the bridge has not read; beyond it: disconnected.
    answers_waiting_max: int = 20_000
    # Registrations in one snapshot frame.
    snapshot_registrations: int = 200
    # The log is compacted at start and when it has grown by this many bytes.
    log_bytes_compact: int = 64 * 1024 * 1024
    # What the kernel may keep of datagrams without security that are not taken yet, where it is
    # permitted. It counts about 800 bytes for a Register and twice this in all: four seconds of a
    # million devices that arrive within two minutes.
    receive_buffer_bytes: int = 16 * 1024 * 1024
    # Rows of the security store.
    security_rows_max: int = 1_000_000
    # OSCORE contexts held.
    oscore_contexts_max: int = 100_000
    # TCP and TLS connections, and how many of them may not yet have shaken hands; one more is
    # closed at once.
    connections_max: int = 20_000
    connections_half_open_max: int = 1_000
    # Requests of devices taken in a second, in all and of one device, and how many at once; what is
    # more is answered 5.03, and Max-Age when to try again. 0: all are taken.
    requests_per_s: float = 0.0
    requests_burst: int = 1_000
    requests_per_device_per_s: float = 0.0
    requests_per_device_burst: int = 20
    overload_max_age_s: int = 5

    def transmission(self) -> TransmissionParameters:
        """CoAP's parameters with these limits."""
        return TransmissionParameters(
            payload_bytes_max=self.payload_bytes_max,
            requests_per_s=self.requests_per_s,
            requests_burst=self.requests_burst,
            requests_per_peer_per_s=self.requests_per_device_per_s,
            requests_per_peer_burst=self.requests_per_device_burst,
            overload_max_age_s=self.overload_max_age_s,
        )


class SecureListen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen for DTLS, and what devices prove themselves by: keys, certificates or both.

    Files are PEM. With a certificate, the server proves itself by it, and devices come in whose
    certificates end at a trust anchor; a certificate's common name is the device's endpoint name.
    """

    host: str = "127.0.0.1"
    port: int = 0
    # Whether the pre-shared keys of the security store are taken.
    psk: bool = True
    # The server's certificate and those between it and the root, its own first.
    certificate_file: str | None = None
    private_key_file: str | None = None
    # The certificates at which those of devices must end.
    trust_anchors_file: str | None = None
    # Sessions and handshakes at once: OpenSSL keeps some 76 KB for each handshake.
    sessions_max: int = 131_072
    handshakes_max: int = 1_024


class TlsListen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen for TLS. Files are PEM: the server proves itself by its certificate, and
    devices come in whose certificates end at a trust anchor; a certificate's common name is the
    device's endpoint name.
    """

    # The server's certificate and those between it and the root, its own first.
    certificate_file: str
    private_key_file: str
    # The certificates at which those of devices must end.
    trust_anchors_file: str
    host: str = "127.0.0.1"
    port: int = 0


class Defect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A planted defect: the credentials of the two endpoints go to the other one."""

    name: Literal["swap_credentials"]
    endpoints: tuple[str, str]


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `python -m harness.lwm2m_server`."""

    # The server's name: a level of its topics, part of its bridge's identity.
    server: str
    # Event log and security store; the server that starts on it again goes on where it was.
    state_dir: str
    # Bearer token of the admin interface (HTTP): a file with one line.
    token_file: str
    # Bearer token of the data interface (WebSocket): a file with one line.
    data_token_file: str
    # CoAP without security, CoAP over DTLS, over TCP and over TLS: at least one of them.
    coap: Listen | None = Listen()
    coaps: SecureListen | None = None
    coap_tcp: Listen | None = None
    coaps_tcp: TlsListen | None = None
    # Whether a device with a key in the security store may also register without security, where
    # it could use the key. If not, nobody who knows its name can while it is not registered.
    nosec_for_keyed_devices: bool = False
    # OSCORE contexts to take in at start, one JSON object a line (`OscoreRow`), in a file of its
    # owner's alone. They, and those set by the admin interface, are used on the `coap` address.
    oscore_file: str | None = None
    data: Listen = Listen()
    admin: Listen = Listen()
    # Where the data-interface tap writes its records; None: nowhere.
    journal_file: str | None = None
    limits: ServerLimits = ServerLimits()
    # Whether standard input may arm gates: places where the server stands still for a kill test.
    gates: bool = False
    # Whether the log is synced before anything leaves: it then survives a power cut as well.
    sync: bool = False
    defect: Defect | None = None
    # OMA XML files of objects beside the built-in ones; a version that is built in is replaced.
    object_files: tuple[str, ...] = ()
    # Object lists (in link format) by the profile id that LwM2M 1.2 devices send in their place.
    profiles: dict[str, str] = {}
    # Seconds for a Register without `lt`; None refuses it (4.00), as the standard has it.
    lifetime_s_default: int | None = 86_400
    # Version for a Register without `lwm2m`; None refuses it.
    lwm2m_version_default: str | None = "1.0"
    # Versions that are served; others are answered 4.12.
    lwm2m_versions: tuple[str, ...] = ("1.0", "1.1", "1.2")
    # Whether `b=UQ` is taken from LwM2M 1.1 on, where Q is a parameter of its own.
    queue_mode_in_binding_is_allowed: bool = False
    # Whether a Register may list no object at all.
    empty_object_list_is_allowed: bool = False

    def policy(self) -> RegistrationPolicy:
        """What is taken where the standard leaves a choice, or clients do not keep to it."""
        return RegistrationPolicy(
            lifetime_s_default=self.lifetime_s_default,
            lwm2m_version_default=self.lwm2m_version_default,
            lwm2m_versions=self.lwm2m_versions,
            queue_mode_in_binding_is_allowed=self.queue_mode_in_binding_is_allowed,
            empty_object_list_is_allowed=self.empty_object_list_is_allowed,
        )
