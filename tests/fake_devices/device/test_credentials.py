"""How a device gets, uses, renews and loses its MQTT account."""

import hashlib
from itertools import pairwise

from contracts.journal import CredentialsActivated, DeviceDisconnected, DownlinkServed
from fake_devices.device.uplink import UplinkState
from lwm2m.coap import codes
from lwm2m.transport.simulated import NetworkConditions


def test_a_device_connects_when_its_last_publication_becomes_active(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state")
    rig.write_publication(1, "devices/lamp-7/alarm")
    assert rig.opened == []
    rig.activate(0)
    assert rig.opened == [], "the platform is still half-way"
    rig.activate(1)
    [opened] = rig.opened
    account = opened.account
    assert (account.host, account.port, account.client_id) == ("127.0.0.1", 8883, "lamp-7")
    assert (account.certificate, account.ca_certificate) == (b"certificate", b"authority")
    assert account.secret_key == b"private key"
    assert "key" not in repr(account)
    [record] = rig.recorded(CredentialsActivated)
    assert record.client_id == "lamp-7"
    assert record.certificate_sha256 == hashlib.sha256(b"certificate").hexdigest()


def test_a_device_that_is_not_to_connect_takes_its_account_and_opens_nothing(make_rig):
    rig = make_rig(connects=False)
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    rig.run(10)
    assert rig.opened == []
    [record] = rig.recorded(CredentialsActivated)
    assert record.client_id == "lamp-7"
    rig.activate(0, active=False)
    rig.run(10)
    assert rig.device.uplink_state is UplinkState.UNCONFIGURED


def test_a_publication_that_stays_inactive_holds_the_device_up_only_for_a_while(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    assert len(rig.opened) == 1
    rig.write_publication(1, "devices/lamp-7/alarm")
    rig.run(5)
    assert rig.closed == 0


def test_one_of_two_publications_is_enough_after_a_while(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state")
    rig.write_publication(1, "devices/lamp-7/alarm")
    rig.activate(1)
    rig.run(4)
    assert len(rig.opened) == 1


def test_large_credentials_arrive_in_blocks_over_a_bad_network(make_rig):
    rig = make_rig(conditions=NetworkConditions(loss_ratio=0.2, duplication_ratio=0.2), seed=3)
    rig.start()
    rig.run(100)
    certificate = bytes(range(256)) * 12
    rig.patience_s = 150
    assert rig.write_broker(certificate=certificate).code == codes.CREATED
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    assert rig.opened[0].account.certificate == certificate
    created = [one for one in rig.recorded(DownlinkServed) if one.path == "/18830"]
    assert len(created) == 1


def test_incomplete_credentials_do_not_connect(rig):
    rig.start()
    rig.write_broker(certificate=b"")
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    rig.run(5)
    assert rig.opened == []
    rig.ask(codes.PUT, "/18830/0/7", [("/18830/0/7", b"certificate")])
    assert len(rig.opened) == 1, "complete at last"


def test_a_uri_that_is_no_mqtts_address_does_not_connect(rig):
    rig.start()
    for uri in ("https://a", "mqtts://", "mqtts://a:b", "mqtt://127.0.0.1", "mqtts://[1", ""):
        rig.write_broker(codes.PUT if uri != "https://a" else codes.POST, uri=uri)
        rig.write_publication(0, "a", codes.PUT if uri != "https://a" else codes.POST, active=True)
        rig.run(4)
    assert rig.opened == []
    assert rig.recorded(CredentialsActivated) == []


def test_a_publication_without_a_usable_topic_source_or_encoding_is_left_out(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/+/state", active=True)
    rig.write_publication(1, "a", source="no link", active=True)
    rig.write_publication(2, "a", active=True)
    rig.ask(codes.PUT, "/18831/2/6", [("/18831/2/6", 110)])
    assert rig.closed == 1
    assert rig.device.uplink_state is UplinkState.UNCONFIGURED


def test_renewed_credentials_reconnect_once_with_the_new_certificate(rig):
    rig.bootstrap()
    rig.connect()
    rig.write_broker(codes.PUT, certificate=b"renewed")
    rig.connect()
    rig.write_publication(0, "devices/lamp-7/state", codes.PUT)
    rig.write_publication(1, "devices/lamp-7/alarm", codes.PUT)
    rig.activate(0)
    rig.activate(1)
    rig.run(5)
    assert [opened.account.certificate for opened in rig.opened] == [b"certificate", b"renewed"]
    assert rig.closed == 1
    assert not rig.opened[1].renews_session, "the same client id goes on with its session"
    assert rig.recorded(DeviceDisconnected)[0].reason == "credentials renewed"


def test_the_same_credentials_again_leave_the_connection_alone(rig):
    rig.bootstrap()
    rig.connect()
    rig.write_broker(codes.PUT)
    rig.write_publication(0, "devices/lamp-7/state", codes.PUT)
    rig.write_publication(1, "devices/lamp-7/alarm", codes.PUT)
    rig.activate(0)
    rig.activate(1)
    rig.run(10)
    assert (len(rig.opened), rig.closed) == (1, 0)
    assert len(rig.published) >= 2, "and reporting goes on"


def test_another_client_id_begins_another_session(rig):
    rig.bootstrap()
    rig.connect()
    rig.write_broker(codes.PUT, client_id="lamp-8")
    assert rig.opened[1].renews_session


def test_inactive_publications_disconnect_after_a_while(rig):
    rig.bootstrap()
    rig.connect()
    rig.activate(0, False)
    rig.activate(1, False)
    rig.run(4)
    assert rig.closed == 1
    assert rig.device.uplink_state is UplinkState.UNCONFIGURED
    published = len(rig.published)
    rig.run(30)
    assert len(rig.published) == published


def test_deleted_credentials_disconnect_at_once(rig):
    rig.bootstrap()
    rig.connect()
    assert rig.ask(codes.DELETE, "/18830/0").code == codes.DELETED
    assert rig.closed == 1
    assert rig.recorded(DeviceDisconnected)[0].reason == "credentials revoked"


def test_a_lost_connection_is_tried_again_with_growing_pauses(make_rig):
    rig = make_rig(reconnect_s=1.0, reconnect_s_max=4.0, reconnect_jitter_ratio=0.0)
    rig.bootstrap()
    rig.run(3)
    attempts = [rig.now]
    for _ in range(5):
        rig.lose_connection("refused")
        opened = len(rig.opened)
        while len(rig.opened) == opened:
            rig.run(0.05)
        attempts.append(rig.now)
    pauses = [round(b - a, 1) for a, b in pairwise(attempts)]
    assert all(abs(p - q) < 0.11 for p, q in zip(pauses, [1, 2, 4, 4, 4], strict=True))
    assert {record.reason for record in rig.recorded(DeviceDisconnected)} == {"refused"}


def test_revoked_credentials_end_the_tries(rig):
    rig.bootstrap()
    rig.lose_connection()
    rig.ask(codes.DELETE, "/18830/0")
    opened = len(rig.opened)
    rig.run(120)
    assert len(rig.opened) == opened


def test_a_device_that_keeps_its_key_connects_with_it(make_rig):
    rig = make_rig(own_key=b"my own key")
    rig.start()
    rig.write_broker(secret_key=None)
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    [opened] = rig.opened
    assert opened.account.secret_key == b"my own key"


def test_without_any_key_there_is_no_account(rig):
    rig.start()
    rig.write_broker(secret_key=None)
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    rig.run(10)
    assert rig.opened == []
