"""A device that is given a topic for its presence, beside those of its readings."""

from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE

STATE, PRESENCE = "devices/lamp-7/state", "devices/lamp-7/presence"


def configure(rig, *, presence=True):
    rig.start()
    rig.write_broker()
    if presence:
        rig.write_publication(
            2, PRESENCE, source=PRESENCE_SOURCE, encoding=ENCODING_JSON, active=True
        )
    rig.write_publication(0, STATE, active=True)
    rig.run(10)


def test_the_connection_is_opened_with_the_topic_of_its_presence(rig):
    configure(rig)
    opened = rig.opened[-1]
    assert opened.account.presence_topic == PRESENCE
    assert (bool(opened.boot), opened.connection) == (True, len(rig.opened))
    assert opened.began_us > 0


def test_every_connection_has_a_number_of_its_own(rig):
    configure(rig)
    numbers = [opened.connection for opened in rig.opened]
    rig.connect()
    rig.lose_connection()
    rig.run(120)
    later = [opened.connection for opened in rig.opened]
    assert later[: len(numbers)] == numbers
    assert len(later) > len(numbers)
    assert len(set(later)) == len(later)


def test_without_such_a_publication_it_says_nothing_of_its_presence(rig):
    configure(rig, presence=False)
    assert rig.opened[-1].account.presence_topic == ""


def test_a_publication_of_the_connection_is_no_stream_of_readings(rig):
    configure(rig)
    rig.connect()
    rig.run(10)
    assert {published.pack.topic for published in rig.published} == {STATE}
