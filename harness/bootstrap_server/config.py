"""The configuration of the bootstrap server: addresses, files, limits; never a secret."""

from __future__ import annotations

import msgspec

from harness.lwm2m_server.config import Listen, SecureListen, TlsListen


class BootstrapLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of everything that others can make grow."""

    # Sessions at once; beyond it a Bootstrap-Request is answered 5.03 with Max-Age.
    sessions_max: int = 10_000
    # Of these, how many of one address that came without security, whatever its ports; beyond it
    # likewise.
    sessions_per_peer_max: int = 2_000
    # Devices whose last session is kept for people to look at.
    reports_max: int = 10_000
    # Entries held.
    entries_max: int = 1_000_000
    # Rows of the security store.
    security_rows_max: int = 1_000_000
    # TCP and TLS connections, and how many of them may not yet have shaken hands; one more is
    # closed at once.
    connections_max: int = 20_000
    connections_half_open_max: int = 1_000


class BootstrapServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `python -m harness.bootstrap_server`."""

    # The server's name, for records.
    server: str
    # Entries and security store; the server that starts on it again goes on where it was.
    state_dir: str
    # Bearer token of the API (HTTP): a file with one line.
    token_file: str
    # Entries to take in at start, one JSON object a line; with keys, its owner's alone.
    entries_file: str | None = None
    # CoAP without security, CoAP over DTLS, over TCP and over TLS: at least one of them.
    coap: Listen | None = Listen()
    coaps: SecureListen | None = None
    coap_tcp: Listen | None = None
    coaps_tcp: TlsListen | None = None
    admin: Listen = Listen()
    # Where records go; None: nowhere.
    journal_file: str | None = None
    limits: BootstrapLimits = BootstrapLimits()
