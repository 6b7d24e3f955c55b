"""A client's bootstrap: what it asks, how long it waits, what it checks, what a pack does."""

from __future__ import annotations

import pytest

from lwm2m.bootstrap import (
    BootstrapAction,
    BootstrapClient,
    BootstrapPolicy,
    BootstrapState,
    ServerAccount,
    bootstrap_request,
    effect_of_pack,
    find_inconsistency,
    pack_request,
    parse_uri,
    read_accounts,
)
from lwm2m.bootstrap.server_requests import read_bootstrap_request, read_pack_request
from lwm2m.coap import codes
from lwm2m.codecs import Node
from lwm2m.errors import MalformedPayload
from lwm2m.objects import ObjectPath, Value
from lwm2m.registration import RetryPolicy

Values = dict[ObjectPath, Value]


def _config(*changes: tuple[str, Value | None]) -> tuple[list[ObjectPath], Values]:
    """A bootstrap account, a PSK account and its server, with some values changed or taken away."""
    rows: dict[str, Value] = {
        "/0/0/0": "coaps://boot.example:5684",
        "/0/0/1": True,
        "/0/0/2": 0,
        "/0/0/3": b"lamp",
        "/0/0/5": b"boot key",
        "/0/0/11": 7,
        "/0/0/12": 60,
        "/0/1/0": "coaps://server.example",
        "/0/1/1": False,
        "/0/1/2": 0,
        "/0/1/3": b"lamp-1",
        "/0/1/5": b"server key",
        "/0/1/10": 101,
        "/0/1/14": "server",
        "/1/0/0": 101,
        "/1/0/1": 86_400,
        "/3/0/0": "Lamplighter",
    }
    for path, value in changes:
        if value is None:
            rows.pop(path, None)
        else:
            rows[path] = value
    values = {ObjectPath.parse(path): value for path, value in rows.items()}
    return sorted({path.instance for path in values}), values


# ---- waiting ----


def test_a_client_holds_off_then_asks_and_waits_for_finish() -> None:
    client = BootstrapClient(BootstrapPolicy(hold_off_s=30.0))
    assert client.request(0.0) is None
    assert client.next_timer() == 30.0
    assert client.handle_timer(29.9) is None
    assert client.handle_timer(30.0) is BootstrapAction.SEND_REQUEST
    assert client.response_received(codes.CHANGED, 31.0) is BootstrapAction.REMEMBER
    assert client.next_timer() == 31.0 + 247.0
    assert client.server_acted(100.0) is None
    assert client.next_timer() == 347.0
    assert client.finish(101.0, is_consistent=True) is BootstrapAction.REGISTER
    assert client.next_timer() is None


def test_a_server_that_never_finishes_has_failed_and_the_client_rolls_back_and_asks_again() -> None:
    client = BootstrapClient(BootstrapPolicy(retries=RetryPolicy(jitter_ratio=1.0)))
    client.request(0.0)
    client.response_received(codes.CHANGED, 0.0)
    assert client.handle_timer(247.0, chance=0.5) is BootstrapAction.ROLL_BACK
    assert client.state is BootstrapState.BACKING_OFF
    assert client.next_timer() == 247.0 + 90.0
    assert client.handle_timer(337.0) is BootstrapAction.SEND_REQUEST


def test_a_refused_finish_gives_the_server_time_to_mend_it() -> None:
    client = BootstrapClient(BootstrapPolicy())
    client.server_acted(0.0)
    assert client.finish(200.0, is_consistent=False) is None
    assert client.next_timer() == 447.0


def test_a_pack_that_is_refused_falls_back_to_the_request() -> None:
    client = BootstrapClient(BootstrapPolicy(prefers_pack=True))
    assert client.request(0.0) is BootstrapAction.SEND_PACK_REQUEST
    assert client.pack_received(1.0, is_taken=False) is BootstrapAction.SEND_REQUEST


def test_the_bootstrap_account_is_purged_when_its_time_is_over() -> None:
    client = BootstrapClient(BootstrapPolicy(account_timeout_s=60.0, prefers_pack=True))
    client.request(0.0)
    assert client.pack_received(1.0, is_taken=True) is BootstrapAction.REGISTER
    assert client.next_timer() == 61.0
    assert client.handle_timer(60.0) is None
    client.request(60.0)
    client.exchange_failed(60.5)
    # The account's end does not wait for the retry after it.
    assert client.next_timer() == 61.0
    assert client.handle_timer(61.0) is BootstrapAction.PURGE_ACCOUNT
    assert client.next_timer() == 120.5


def test_an_alert_that_is_to_be_ignored_changes_nothing() -> None:
    client = BootstrapClient(BootstrapPolicy())
    client.request(0.0)
    assert client.alert_received(110, 1.0) is None
    assert client.state is BootstrapState.REQUESTING
    assert client.alert_received(40, 1.0) is BootstrapAction.ROLL_BACK


# ---- requests ----


def test_the_server_reads_what_the_client_asks() -> None:
    request = bootstrap_request("lamp-7", 112)
    assert request.query == ("ep=lamp-7", "pct=112")
    found = read_bootstrap_request(request.query, None)
    assert (found.endpoint_name, found.preferred_format) == ("lamp-7", 112)
    assert bootstrap_request("lamp-7").query == ("ep=lamp-7",)
    pack = pack_request("lamp-7", 11544)
    assert (pack.code, pack.path) == (codes.GET, ("bspack",))
    assert read_pack_request(pack.query, pack.accept, None).content_format == 11544


# ---- configuration ----


def test_accounts_are_read_from_security_and_server_objects() -> None:
    instances, values = _config()
    boot, server = read_accounts(instances, values)
    assert boot.is_bootstrap
    assert (boot.hold_off_s, boot.account_timeout_s) == (7, 60)
    assert server == ServerAccount(
        101, "coaps://server.example", 0, b"lamp-1", b"server key",
        security_instance=1, server_instance=0, sni="server",
    )  # fmt: skip


def test_keys_do_not_show_in_an_accounts_repr() -> None:
    shown = repr(read_accounts(*_config())[1])
    assert "server.example" in shown
    assert "key" not in shown


@pytest.mark.parametrize(
    "change", [("/0/1/0", None), ("/0/1/0", "http://x"), ("/0/1/10", 7), ("/1/0/0", None)]
)
def test_what_is_no_account_is_left_out(change: tuple[str, Value | None]) -> None:
    assert [each.short_server_id for each in read_accounts(*_config(change))] == [None]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("coap://10.0.0.1", ("coap", "10.0.0.1", 5683)),
        ("coaps://[::1]:7000/", ("coaps", "::1", 7000)),
        ("coaps+tcp://s.example", ("coaps+tcp", "s.example", 5684)),
        ("coap://s:99999", None),
        ("coap://[", None),
        ("coap:///", None),
        ("coap://s/path", None),
        ("mqtt://s", None),
        ("coap://user@s", None),
    ],
)
def test_a_servers_uri_is_scheme_host_and_port(
    uri: str, expected: tuple[str, str, int] | None
) -> None:
    assert parse_uri(uri) == expected


def test_a_whole_configuration_is_consistent() -> None:
    assert find_inconsistency(*_config()) is None
    x509: list[tuple[str, Value | None]] = [("/0/1/2", 2), ("/0/1/4", b"certificate")]
    assert find_inconsistency(*_config(*x509)) is None
    # The bootstrap server's certificate may be known by the factory's trust anchors alone.
    assert find_inconsistency(*_config(("/0/0/2", 2))) is None
    nosec: list[tuple[str, Value | None]] = [
        ("/0/1/0", "coap://s"), ("/0/1/2", 3), ("/0/1/3", None), ("/0/1/5", None),
    ]  # fmt: skip
    assert find_inconsistency(*_config(*nosec)) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([("/0/1/1", True)], "more than one bootstrap account"),
        ([("/0/1/0", None)], "/0/1: the server's URI"),
        ([("/0/0/0", "ftp://x")], "/0/0: the server's URI"),
        ([("/0/1/2", 1)], "/0/1: the security mode"),
        ([("/0/1/2", None)], "/0/1: the security mode"),
        ([("/0/1/2", 3)], "coaps does not go with no security"),
        ([("/0/1/0", "coap://s")], "coap does not go with a pre-shared key"),
        ([("/0/1/5", b"")], "a pre-shared key is not complete"),
        ([("/0/1/2", 2)], "a certificate is not complete"),
        ([("/0/1/10", None)], "/0/1: the short server id"),
        ([("/0/1/10", 65535)], "/0/1: the short server id"),
        ([(f"/0/1/{n}", None) for n in (0, 1, 2, 3, 5, 10, 14)], "no account of a server"),
        ([("/1/1/0", 101), ("/1/1/1", 60)], "there twice"),
        ([("/1/0/0", 7)], "in only one of /0 and /1"),
        ([("/1/0/1", None)], "/1/0: the lifetime is missing"),
    ],
)
def test_an_inconsistent_configuration_says_what_is_wrong(
    changes: list[tuple[str, Value | None]], reason: str
) -> None:
    found = find_inconsistency(*_config(*changes))
    assert found is not None
    assert reason in found
    assert "server key" not in found


# ---- packs ----


def _nodes(*paths: str) -> list[Node]:
    return [Node(ObjectPath.parse(path), 1) for path in paths]


def test_a_pack_replaces_all_instances_of_its_objects_but_the_account_and_the_device() -> None:
    existing = [ObjectPath.parse(each) for each in ("/0/0", "/0/1", "/1/0", "/3/0", "/4/0")]
    found = effect_of_pack(
        _nodes("/0/2/10", "/0/2/2", "/1/1/0", "/3/0/13"), existing, [ObjectPath(0, 0)]
    )
    assert found.removed == (ObjectPath(0, 1), ObjectPath(1, 0))
    assert found.instances == (ObjectPath(0, 2), ObjectPath(1, 1), ObjectPath(3, 0))
    assert set(found.values) == {node.path for node in _nodes(
        "/0/2/10", "/0/2/2", "/1/1/0", "/3/0/13"
    )}  # fmt: skip


@pytest.mark.parametrize("paths", [(), ("/0/0/0",)])
def test_a_pack_without_values_or_into_the_account_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(MalformedPayload):
        effect_of_pack(_nodes(*paths), [], [ObjectPath(0, 0)])
