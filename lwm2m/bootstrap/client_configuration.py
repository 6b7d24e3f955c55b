"""What a client's objects 0 and 1 say: its accounts, and whether they fit together.

Pure: object instances and values go in. Keys come out in accounts only, and never in texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec

from lwm2m.objects import ID_MAX, ObjectPath, Value

SECURITY_OBJECT: Final = 0
SERVER_OBJECT: Final = 1
PSK, RAW_PUBLIC_KEY, CERTIFICATE, NO_SECURITY, EST = range(5)
"""Security modes (/0/x/2). Raw public keys and EST are not supported."""

DEFAULT_PORTS: Final = {"coap": 5683, "coaps": 5684, "coap+tcp": 5683, "coaps+tcp": 5684}
# A fleet's devices name few servers.
_URIS_KEPT: Final = 1_024
_SECURE_SCHEMES: Final = frozenset({"coaps", "coaps+tcp"})
_MODES: Final = {PSK: "a pre-shared key", CERTIFICATE: "a certificate", NO_SECURITY: "no security"}


class ServerAccount(msgspec.Struct, frozen=True):
    """One instance of /0, and of /1 with it. `short_server_id` None is the bootstrap server.

    `identity` is the PSK identity or the client's certificate (DER), `key` its secret (the PSK, or
    PKCS #8), `server_key` the server's certificate. `server_instance` is the instance of /1.
    """

    short_server_id: int | None
    uri: str
    security_mode: int = NO_SECURITY
    identity: bytes = b""
    key: bytes = b""
    server_key: bytes = b""
    security_instance: int = 0
    server_instance: int | None = None
    hold_off_s: int = 0
    account_timeout_s: int = 0
    sni: str | None = None

    def __repr__(self) -> str:
        return f"ServerAccount({self.short_server_id}, {self.uri!r}, …)"

    @property
    def is_bootstrap(self) -> bool:
        """Whether this is the account of the bootstrap server."""
        return self.short_server_id is None


@lru_cache(_URIS_KEPT)
def parse_uri(uri: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a server's URI; None for what is no URI of CoAP."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        return None
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]


def read_accounts(
    instances: Collection[ObjectPath], values: Mapping[ObjectPath, Value]
) -> list[ServerAccount]:
    """The accounts that can be used, in order of their instances of /0.

    Left out is what is no account: without URI, or without the /1 that its short server id names.
    """
    found: list[ServerAccount] = []
    servers = _server_instances(instances, values)
    for object_id, instance_id, _, _ in instances:
        if object_id == SECURITY_OBJECT and instance_id is not None:
            account = _read_account(instance_id, values, servers)
            if account is not None:
                found.append(account)
    return found


def find_inconsistency(
    instances: Iterable[ObjectPath], values: Mapping[ObjectPath, Value]
) -> str | None:
    """What keeps this configuration from being used, for humans; None when it can.

    It is what a Finish is answered 4.06 for (LwM2M Core §6.1.7.6).
    """
    instances = list(instances)
    security = [each for each in instances if each.object_id == SECURITY_OBJECT]
    if sum(values.get(each.child(1)) is True for each in security) > 1:
        return "there is more than one bootstrap account"
    for instance in security:
        problem = _problem_of(instance, values)
        if problem is not None:
            return f"{instance}: {problem}"
    named = [
        values.get(each.child(10)) for each in security if values.get(each.child(1)) is not True
    ]
    served = [values.get(each.child(0)) for each in instances if each.object_id == SERVER_OBJECT]
    if not named:
        return "there is no account of a server"
    if len(set(named)) != len(named) or len(set(served)) != len(served):
        return "a short server id is there twice"
    if set(named) != set(served):
        return "a short server id is in only one of /0 and /1"
    return _lifetime_problem(instances, values)


def _problem_of(instance: ObjectPath, values: Mapping[ObjectPath, Value]) -> str | None:
    uri = values.get(instance.child(0))
    mode = _whole(values.get(instance.child(2)), -1)
    address = parse_uri(uri) if isinstance(uri, str) else None
    if address is None:
        return "the server's URI is missing or is no URI of CoAP"
    if mode not in _MODES:
        return "the security mode is missing or not supported"
    if (address[0] in _SECURE_SCHEMES) is (mode == NO_SECURITY):
        return f"{address[0]} does not go with {_MODES[mode]}"
    is_bootstrap = values.get(instance.child(1)) is True
    needed = {PSK: (3, 5), CERTIFICATE: (3, 4, 5), NO_SECURITY: ()}[mode]
    if any(
        not values.get(instance.child(number))
        for number in needed
        # The factory may have given trust anchors in place of the bootstrap server's certificate.
        if not (is_bootstrap and number == 4)
    ):
        return f"{_MODES[mode]} is not complete"
    if is_bootstrap:
        return None
    short_server_id = values.get(instance.child(10))
    if type(short_server_id) is not int or not 1 <= short_server_id <= ID_MAX:
        return "the short server id is missing or not 1 to 65534"
    return None


def _lifetime_problem(
    instances: Iterable[ObjectPath], values: Mapping[ObjectPath, Value]
) -> str | None:
    for instance in instances:
        if instance.object_id == SERVER_OBJECT and values.get(instance.child(1)) is None:
            return f"{instance}: the lifetime is missing"
    return None


def _server_instances(
    instances: Iterable[ObjectPath], values: Mapping[ObjectPath, Value]
) -> dict[int, int]:
    """Instance of /1 by short server id."""
    found: dict[int, int] = {}
    for object_id, instance_id, _, _ in instances:
        if object_id == SERVER_OBJECT and instance_id is not None:
            short_server_id = values.get(ObjectPath(SERVER_OBJECT, instance_id, 0))
            if type(short_server_id) is int:
                found[short_server_id] = instance_id
    return found


def _read_account(
    instance_id: int, values: Mapping[ObjectPath, Value], servers: Mapping[int, int]
) -> ServerAccount | None:
    # Every device of a fleet reads its accounts when it starts: paths are made without detours.
    found = [values.get(ObjectPath(SECURITY_OBJECT, instance_id, number)) for number in _READ]
    uri, is_bootstrap, mode, identity, server_key, key, server, hold_off, timeout, sni = found
    short_server_id = None if is_bootstrap is True else _whole(server, -1)
    if not isinstance(uri, str) or parse_uri(uri) is None:
        return None
    if short_server_id is not None and short_server_id not in servers:
        return None
    return ServerAccount(
        short_server_id,
        uri,
        _whole(mode, NO_SECURITY),
        _bytes(identity),
        _bytes(key),
        _bytes(server_key),
        instance_id,
        None if short_server_id is None else servers[short_server_id],
        _whole(hold_off, 0),
        _whole(timeout, 0),
        sni if isinstance(sni, str) else None,
    )


# The resources of /0 that make an account.
_READ: Final = (0, 1, 2, 3, 4, 5, 10, 11, 12, 14)


def _whole(value: Value | None, default: int) -> int:
    return value if type(value) is int else default


def _bytes(value: Value | None) -> bytes:
    return value if isinstance(value, bytes) else b""
