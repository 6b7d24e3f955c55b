"""The configuration of the LwM2M server emulator: addresses, files, limits; never a secret."""

from __future__ import annotations

from typing import Literal

import msgspec


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to listen. Port 0 takes a free one; it is told in the ready line."""

    host: str = "127.0.0.1"
    port: int = 0


class ServerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of everything that others can make grow. The defaults fit 100,000 devices."""

    # Registrations held; beyond it Register is answered 5.03.
    registrations_max: int = 200_000
    # Bytes of any request or answer, block-wise or not; a larger request is answered 4.13.
    payload_bytes_max: int = 65_536
    # Bytes of a Register's object links; beyond it 4.13.
    registration_bytes_max: int = 32_768
    # Commands accepted and without outcome, in total and for one device; beyond it an error frame.
    commands_queued_max: int = 50_000
    commands_per_device_max: int = 32
    # Outcomes kept until their command expires, to answer a repeated id; beyond it an error frame.
    outcomes_kept_max: int = 500_000
    # How far ahead a command may expire, in seconds: it bounds how long outcomes are kept.
    command_lifetime_s_max: float = 86_400.0
    # Events kept until they are acknowledged; beyond it the oldest go and the bridge gets a gap.
    events_kept_max: int = 200_000
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
    # Rows of the security store.
    security_rows_max: int = 1_000_000


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
    coap: Listen = Listen()
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
