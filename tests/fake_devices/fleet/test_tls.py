"""A device's TLS: it connects to whom it was told to trust and to nobody else."""

import ssl

import pytest

from fake_devices.fleet.tls import TlsContexts
from mqtt.tls import TlsFailed, UnusableCredentials


class Peer:
    """A broker's end in memory, by the standard library."""

    def __init__(self, context):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self.received = b""

    def exchange(self, data):
        self._in.write(data)
        try:
            self._object.do_handshake()
            while True:
                self.received += self._object.read(65_536)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            pass  # it refuses the client: its alert goes out
        return self._out.read()

    def subject(self):
        return self._object.getpeercert()["subject"][0][0][1]

    def write(self, data):
        self._object.write(data)
        return self._out.read()

    def version(self):
        return self._object.version()

    def was_resumed(self):
        return self._object.session_reused


def shake_hands(pipe, peer):
    for _ in range(5):
        data = peer.exchange(pipe.data_to_send())
        if data:
            pipe.receive(data)


def open_pipe(world, keys, host="127.0.0.1", authority=None, contexts=None, session=None):
    return (contexts or TlsContexts()).open(
        host=host,
        ca=authority or world.authority.certificate,
        certificate=keys.certificate,
        key=keys.key,
        session=session,
    )


def test_both_ends_know_each_other_and_bytes_pass(world):
    pipe, peer = open_pipe(world, world.authority.issue("lamp-7")), Peer(world.broker_context())
    shake_hands(pipe, peer)
    assert pipe.is_established
    assert peer.subject() == "lamp-7"
    assert peer.version() == "TLSv1.2"
    pipe.send(b"up")
    answer = peer.exchange(pipe.data_to_send()) + peer.write(b"down" * 10_000)
    assert peer.received == b"up"
    assert pipe.receive(answer) == b"down" * 10_000


def test_contexts_are_shared_and_certificates_are_not(world):
    contexts, context = TlsContexts(), world.broker_context()
    for name in ("lamp-7", "lamp-8"):
        keys = world.authority.issue(name)
        pipe = contexts.open(
            host="127.0.0.1",
            ca=world.authority.certificate,
            certificate=keys.certificate,
            key=keys.key,
        )
        peer = Peer(context)
        shake_hands(pipe, peer)
        assert peer.subject() == name


def test_a_broker_of_another_authority_is_not_trusted(world):
    other = type(world)(world.Authority("another"), world.models, world._folder)
    pipe = open_pipe(world, world.authority.issue("lamp-7"))
    with pytest.raises(TlsFailed, match="certificate verify failed"):
        shake_hands(pipe, Peer(other.broker_context()))


@pytest.mark.parametrize(
    ("named", "asked", "is_trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("localhost", "127.0.0.1", False),
        ("broker.example", "broker.example", True),
        ("*.lamps.example", "broker.lamps.example", True),
        ("*.lamps.example", "a.broker.lamps.example", False),
        ("*.example", "broker.example", False),  # a wildcard is not for all of a top-level domain
        ("br*.lamps.example", "broker.lamps.example", False),
        ("broker.example", "other.example", False),
    ],
)
def test_a_brokers_certificate_must_name_the_host(world, named, asked, is_trusted):
    pipe = open_pipe(world, world.authority.issue("lamp-7"), asked)
    peer = Peer(world.broker_context(named))
    if is_trusted:
        shake_hands(pipe, peer)
        assert pipe.is_established
    else:
        with pytest.raises(TlsFailed, match="does not name"):
            shake_hands(pipe, peer)


def test_a_device_of_another_authority_is_refused_and_learns_it(world):
    pipe = open_pipe(world, world.Authority("another").issue("lamp-7"))
    with pytest.raises(TlsFailed):
        shake_hands(pipe, Peer(world.broker_context()))


def test_unusable_credentials_are_named_without_being_shown(world):
    good = world.authority.issue("lamp-7")
    other = world.authority.issue("lamp-8")
    for keys, authority in (
        (world.Keys(b"garbage", good.key), None),
        (world.Keys(good.certificate, b"garbage"), None),
        (world.Keys(good.certificate, other.key), None),
        (good, b"garbage"),
    ):
        with pytest.raises(UnusableCredentials) as caught:
            open_pipe(world, keys, authority=authority)
        assert "garbage" not in str(caught.value)


def test_garbage_instead_of_tls_is_an_error_of_the_peer(world):
    pipe = open_pipe(world, world.authority.issue("lamp-7"))
    with pytest.raises(TlsFailed):
        pipe.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_session_is_resumed_by_its_ticket_after_it_was_cut_off(world):
    contexts, context = TlsContexts(), world.broker_context()
    keys = world.authority.issue("lamp-7")
    session = None
    for turn in range(3):
        pipe, peer = open_pipe(world, keys, contexts=contexts, session=session), Peer(context)
        shake_hands(pipe, peer)
        assert pipe.is_established
        assert peer.was_resumed() is (turn > 0)
        assert peer.subject() == "lamp-7"
        session = pipe.end()


def test_who_is_not_resumed_proves_itself_after_all(world):
    contexts, keys = TlsContexts(), world.authority.issue("lamp-7")
    pipe = open_pipe(world, keys, contexts=contexts)
    shake_hands(pipe, Peer(world.broker_context()))
    restarted = Peer(world.broker_context())
    again = open_pipe(world, keys, contexts=contexts, session=pipe.end())
    shake_hands(again, restarted)
    assert again.is_established
    assert not restarted.was_resumed()
    assert restarted.subject() == "lamp-7"


def test_there_is_nothing_to_resume_of_a_handshake_that_came_to_nothing(world):
    assert open_pipe(world, world.authority.issue("lamp-7")).end() is None


def test_data_that_came_with_the_end_of_the_handshake_is_not_lost(world):
    # Its memory buffers are replaced then: nothing may be in them.
    pipe, peer = open_pipe(world, world.authority.issue("lamp-7")), Peer(world.broker_context())
    first = peer.exchange(pipe.data_to_send())
    pipe.receive(first)
    last = peer.exchange(pipe.data_to_send())
    assert pipe.receive(last + peer.write(b"welcome")) == b"welcome"
    assert pipe.is_established
    pipe.send(b"hello")
    peer.exchange(pipe.data_to_send())
    assert peer.received == b"hello"
    whole = peer.write(b"x" * 9_000)
    assert pipe.receive(whole[:5_000]) == b""
    assert pipe.data_to_send() == b""
    assert pipe.receive(whole[5_000:]) == b"x" * 9_000
