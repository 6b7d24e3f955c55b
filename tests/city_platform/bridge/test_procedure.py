"""Writing credentials: the table, the order, and convergence over any losses."""

from __future__ import annotations

import random
from base64 import b64decode, b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.bridge.procedure import (
    AFTER,
    CredentialsProcedure,
    Follows,
    Manner,
    Progress,
    Verdict,
    broker_values,
    publication_values,
    verdict_on,
)
from city_platform.bridge.registry import Held, Links
from contracts.credentials import BrokerCredentials, Publication, decode_document
from contracts.data_interface import Command, Outcome, ResultError, Stage, Value
from tests.city_platform.bridge.server_side import KEY, SERVER, document

NO_LINKS = Held("r1", Links(b'[{"path":"/1/0"}]'))


def procedure(
    held: Held = NO_LINKS,
    *,
    instances: tuple[int, ...] = (0, 1),
    tries_max: int = 6,
    window: int = 0,
) -> CredentialsProcedure:
    content = decode_document(document("lamp-1", instances=instances))
    return CredentialsProcedure(SERVER, held.registration_id, content, held, tries_max, window)


def outcome_of(command: Command, code: str | None = None, stage: Stage = "timeout") -> Outcome:
    error = None if code else ResultError(stage, "")
    return Outcome(id=command.id, operation=command.operation, code=code, error=error)


@pytest.mark.parametrize("manner", list(Manner))
@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_cell_says_what_follows(manner: Manner, verdict: Verdict) -> None:
    assert isinstance(AFTER[manner][verdict], Manner | Follows)


def test_a_create_is_never_repeated_after_an_unknown_outcome() -> None:
    assert AFTER[Manner.CREATE][Verdict.UNKNOWN] is Manner.REPLACE


@pytest.mark.parametrize(
    ("code", "stage", "verdict"),
    [
        ("2.01", None, Verdict.DONE),
        ("4.04", None, Verdict.ABSENT),
        ("4.00", None, Verdict.REFUSED),
        ("5.00", None, Verdict.REFUSED),
        (None, "timeout", Verdict.UNKNOWN),
        (None, "unknown", Verdict.UNKNOWN),
        (None, "not_registered", Verdict.ENDED),
        (None, "expired", Verdict.ENDED),
        (None, "cancelled", Verdict.ENDED),
        (None, "invalid", Verdict.INVALID),
    ],
)
def test_an_outcome_is_read(code: str | None, stage: Stage | None, verdict: Verdict) -> None:
    error = None if stage is None else ResultError(stage, "")
    assert verdict_on(Outcome(id="1", operation="write", code=code, error=error)) is verdict


def test_what_was_done_and_answered_badly_is_not_simply_done() -> None:
    error = ResultError("coap", "the answer names one instance")
    assert verdict_on(Outcome(id="1", operation="create", code="2.01", error=error)) is (
        Verdict.UNREADABLE
    )


def test_the_broker_object_has_every_resource() -> None:
    values = {one.path: (one.type, one.value) for one in procedure().command(0).values or ()}
    assert sorted(values) == sorted(f"/18830/0/{n}" for n in (0, 1, 2, 3, 6, 7, 8, 9, 10))
    assert values["/18830/0/1"] == ("string", "lamp-1")
    assert values["/18830/0/6"] == ("integer", 2)
    assert values["/18830/0/10"] == ("integer", 2)
    assert b64decode(str(values["/18830/0/9"][1])) == KEY


def test_publications_point_to_the_broker_and_are_created_inactive() -> None:
    running = procedure()
    running.handle_outcome(outcome_of(running.command(0), "2.01"), is_stored=False)
    values = {one.path: (one.type, one.value) for one in running.command(0).values or ()}
    assert values["/18831/0/0"] == ("corelnk", "</3416>")
    assert values["/18831/0/1"] == ("objlnk", "18830:0")
    assert values["/18831/0/5"] == ("boolean", False)
    assert values["/18831/0/6"] == ("unsigned", 112)


def test_what_the_links_have_is_replaced() -> None:
    held = Held("r1", Links(b'[{"path":"/18830/0"},{"path":"/18831/1"}]'))
    running = procedure(held)
    seen = []
    while running.progress is Progress.RUNNING:
        command = running.command(0)
        seen.append((command.operation, command.path))
        running.handle_outcome(outcome_of(command, "2.04"), is_stored=False)
    assert seen[:3] == [("write", "/18830/0"), ("create", "/18831/0"), ("write", "/18831/1")]


def test_a_publication_that_is_there_stays_as_active_as_it_is() -> None:
    running = procedure(Held("r1", Links(b'[{"path":"/18830/0"},{"path":"/18831/0"}]')))
    running.handle_outcome(outcome_of(running.command(0), "2.04"), is_stored=False)
    command = running.command(0)
    assert (command.path, command.operation, command.mode) == ("/18831/0", "write", "update")
    assert "/18831/0/5" not in {one.path for one in command.values or ()}


@pytest.mark.parametrize("links", [b"{}", b'[{"path":"/18830/\xd9\xa1"}]', b'[{"path":"//"}]'])
def test_links_that_cannot_be_read_count_as_none(links: bytes) -> None:
    assert procedure(Held("r1", Links(links))).command(0).operation == "create"


def test_only_the_very_last_command_completes() -> None:
    running = procedure()
    completes = []
    while running.progress is Progress.RUNNING:
        command = running.command(0)
        completes.append(command.completes is not None)
        running.handle_outcome(outcome_of(command, "2.04"), is_stored=False)
    assert completes == [False, False, False, False, True]


MAY_TAKE_COMPOSITES = NO_LINKS._replace(may_take_composites=True)


def operations(running: CredentialsProcedure, refuses: str = "") -> list[tuple[str, str | None]]:
    """What is asked of a device that refuses one operation, to the end."""
    asked = []
    while running.progress is Progress.RUNNING:
        command = running.command(0)
        asked.append((command.operation, command.path))
        code = "4.05" if command.operation == refuses else "2.04"
        running.handle_outcome(outcome_of(command, code), is_stored=False)
    return asked


SOME = Held("r1", Links(b'[{"path":"/18831/1"}]'), may_take_composites=True)


def test_a_device_without_publications_is_given_all_of_them_active_in_the_last_exchange() -> None:
    running = procedure(MAY_TAKE_COMPOSITES)
    running.handle_outcome(outcome_of(running.command(0), "2.01"), is_stored=False)
    command = running.command(0)
    assert (command.operation, command.path) == ("create", "/18831")
    values = {one.path: one.value for one in command.values or ()}
    assert sorted(values) == sorted(f"/18831/{n}/{m}" for n in (0, 1) for m in range(7))
    assert (values["/18831/0/5"], values["/18831/1/5"]) == (True, True)
    assert command.completes is not None
    assert running.handle_outcome(outcome_of(command, "2.01"), is_stored=False) is (
        Progress.COMPLETED
    )


@pytest.mark.parametrize("held", [NO_LINKS, MAY_TAKE_COMPOSITES])
def test_a_single_publication_is_created_active(held: Held) -> None:
    running = procedure(held, instances=(3,))
    assert operations(running) == [("create", "/18830/0"), ("create", "/18831/3")]


ONE_BY_ONE = [
    ("create", "/18831/0"),
    ("create", "/18831/1"),
    ("write_composite", None),
]


@pytest.mark.parametrize("stage", ["timeout", "unknown", "invalid", "coap"])
def test_who_does_not_create_several_at_once_is_given_each_alone(stage: Stage) -> None:
    running = procedure(MAY_TAKE_COMPOSITES)
    running.handle_outcome(outcome_of(running.command(0), "2.01"), is_stored=False)
    running.handle_outcome(outcome_of(running.command(0), stage=stage), is_stored=False)
    command = running.command(0)
    assert ("/18831/0/5", False) in [(one.path, one.value) for one in command.values or ()]
    assert operations(running) == ONE_BY_ONE
    assert running.progress is Progress.COMPLETED


def test_who_names_the_one_that_it_created_of_several_is_given_each_alone() -> None:
    running = procedure(MAY_TAKE_COMPOSITES)
    running.handle_outcome(outcome_of(running.command(0), "2.01"), is_stored=False)
    error = ResultError("coap", "done, but the answer names one instance")
    outcome = Outcome(id=running.pending_id, operation="create", code="2.01", error=error)
    running.handle_outcome(outcome, is_stored=False)
    assert operations(running) == ONE_BY_ONE


def test_publications_become_active_in_one_exchange_where_the_device_may_take_that() -> None:
    running = procedure(SOME)
    for _ in range(3):
        running.handle_outcome(outcome_of(running.command(0), "2.04"), is_stored=False)
    command = running.command(0)
    assert (command.operation, command.path) == ("write_composite", None)
    assert [(one.path, one.value) for one in command.values or ()] == [
        ("/18831/0/5", True),
        ("/18831/1/5", True),
    ]
    assert command.completes is not None


def test_a_single_publication_becomes_active_by_a_plain_write() -> None:
    running = procedure(SOME, instances=(1,))
    assert operations(running)[-1] == ("write", "/18831/1/5")


def test_who_refuses_the_composite_is_written_to_plainly() -> None:
    running = procedure(SOME)
    assert operations(running, refuses="write_composite")[3:] == [
        ("write_composite", None),
        ("write", "/18831/0/5"),
        ("write", "/18831/1/5"),
    ]
    assert running.progress is Progress.COMPLETED


def test_who_does_not_answer_the_composite_is_written_to_plainly() -> None:
    running = procedure(SOME)
    for _ in range(3):
        running.handle_outcome(outcome_of(running.command(0), "2.04"), is_stored=False)
    running.handle_outcome(outcome_of(running.command(0)), is_stored=False)
    assert (running.command(0).operation, running.command(0).path) == ("write", "/18831/0/5")


def test_fresh_failures_are_bounded() -> None:
    running = procedure(tries_max=3)
    tries = 0
    while running.progress is Progress.RUNNING:
        tries += 1
        running.handle_outcome(outcome_of(running.command(0)), is_stored=False)
    assert (tries, running.progress) == (3, Progress.GIVEN_UP)


def test_stored_failures_cost_no_try_and_lead_to_ids_not_used_before() -> None:
    first = procedure(tries_max=3)
    used: list[str] = []
    while first.progress is Progress.RUNNING:
        used.append(first.pending_id)
        first.handle_outcome(outcome_of(first.command(0)), is_stored=False)
    second = procedure(tries_max=3)
    for expected in used:
        assert second.pending_id == expected
        assert (
            second.handle_outcome(outcome_of(second.command(0)), is_stored=True) is Progress.RUNNING
        )
    assert second.pending_id not in used


def test_what_was_refused_for_good_is_asked_anew_by_a_later_drive() -> None:
    running = procedure()
    stored = outcome_of(running.command(0), stage="not_registered")
    assert running.handle_outcome(stored, is_stored=True) is Progress.RUNNING
    fresh = outcome_of(running.command(0), stage="not_registered")
    assert running.handle_outcome(fresh, is_stored=False) is Progress.GIVEN_UP


def test_ids_differ_by_window_registration_version_and_step() -> None:
    ids = {
        procedure().pending_id,
        procedure(window=1).pending_id,
        procedure(Held("r2", Links(b"[]"))).pending_id,
    }
    running = procedure()
    running.handle_outcome(outcome_of(running.command(0), "2.01"), is_stored=False)
    assert len(ids | {running.pending_id}) == 4
    assert procedure().pending_id == procedure().pending_id


def test_nothing_secret_is_shown() -> None:
    running = procedure()
    shown = repr(running) + repr(running._steps)
    assert "secret" not in shown
    assert str((running.command(0).values or [])[7].value) not in shown


class Device:
    """Objects 18830 and 18831 behind a server that keeps outcomes and sends no id twice."""

    def __init__(self, chance: random.Random, loss: float) -> None:
        self.instances: set[str] = set()
        self.active: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}
        self.refuses_composites = chance.random() < 0.5
        # What it makes of a Create of several instances: all, none, or only the first.
        self.creates = chance.choice(["all", "none", "first"])
        self._chance = chance
        self._loss = loss

    def serve(self, command: Command) -> tuple[Outcome, bool]:
        """The outcome, and whether it was stored before."""
        if command.id in self.outcomes:
            return self.outcomes[command.id], True
        if self._chance.random() < self._loss:
            outcome = outcome_of(command)
        else:
            code = self._carry_out(command)
            is_heard = self._chance.random() >= self._loss
            outcome = outcome_of(command, code if is_heard else None, "unknown")
            if command.path == "/18831" and outcome.code == "2.01" and self.creates == "first":
                error = ResultError("coap", "the answer names one instance")
                outcome = msgspec.structs.replace(outcome, error=error)
        self.outcomes[command.id] = outcome
        return outcome, False

    def _carry_out(self, command: Command) -> str:
        path = command.path or ""
        if command.operation == "write_composite":
            paths = {one.path.removesuffix("/5") for one in command.values or ()}
            if self.refuses_composites or not paths <= self.instances:
                return "4.05" if self.refuses_composites else "4.04"
            self.active |= paths
            return "2.04"
        if command.operation == "create":
            return self._create(command)
        exists = path in self.instances
        if exists and command.operation == "write":
            self.active.discard(path)
        if command.operation == "delete":
            self.instances.discard(path)
            return "2.02" if exists else "4.04"
        if path.endswith("/5"):
            self.active.add(path.removesuffix("/5"))
            return "2.04"
        return "2.04" if exists else "4.04"

    def _create(self, command: Command) -> str:
        values = {one.path: one.value for one in command.values or ()}
        named = sorted({path.rpartition("/")[0] for path in values})
        if len(named) > 1 and self.creates == "none":
            return "4.00"
        if not self.instances.isdisjoint(named):
            return "4.00"
        for instance in named[:1] if self.creates == "first" else named:
            self.instances.add(instance)
            self.active |= {instance} if values.get(f"{instance}/5") else set()
        return "2.01"


def links_of(device: Device) -> bytes:
    return msgspec.json.encode([{"path": path} for path in sorted(device.instances)])


@pytest.mark.parametrize("seed", range(60))
def test_any_losses_restarts_and_late_links_end_with_everything_written(seed: int) -> None:
    chance = random.Random(seed)
    device = Device(chance, loss=chance.choice([0.0, 0.3]))
    device.instances |= {"/18831/7"} if chance.random() < 0.5 else set()
    links = links_of(device)
    completed = 0
    for _drive in range(200):
        # The server learns of new links by an Update, sooner or later.
        links = links_of(device) if chance.random() < 0.5 else links
        running = procedure(Held("r1", Links(links), seed % 2 == 0), tries_max=3)
        while running.progress is Progress.RUNNING and chance.random() > 0.1:
            outcome, is_stored = device.serve(running.command(0))
            running.handle_outcome(outcome, is_stored=is_stored)
        if running.progress is Progress.COMPLETED:
            completed += 1
            assert device.instances >= {"/18830/0", "/18831/0", "/18831/1"}
            assert device.active == {"/18831/0", "/18831/1"}
        if completed == 3:
            break
    assert completed == 3
    assert device.instances == {"/18830/0", "/18831/0", "/18831/1"}


def keeping_its_key(held: Held = NO_LINKS) -> CredentialsProcedure:
    content = decode_document(document("lamp-1"))
    broker = msgspec.structs.replace(content.broker, secret_key=b"")
    content = msgspec.structs.replace(content, broker=broker)
    return CredentialsProcedure(SERVER, held.registration_id, content, held, 6, 0)


def test_a_device_that_keeps_its_key_is_written_none() -> None:
    command = keeping_its_key().command(1)
    assert command.operation == "create"
    assert command.values is not None
    paths = [value.path for value in command.values]
    assert "/18830/0/7" in paths
    assert "/18830/0/9" not in paths


def test_a_renewal_leaves_the_key_that_a_device_keeps_where_it_is() -> None:
    renewed = keeping_its_key(Held("r1", Links(b'[{"path":"/18830/0"}]'))).command(1)
    assert (renewed.operation, renewed.mode) == ("write", "update")
    replaced = procedure(Held("r1", Links(b'[{"path":"/18830/0"}]'))).command(1)
    assert (replaced.operation, replaced.mode) == ("write", "replace")


def base64(data: bytes) -> str:
    return b64encode(data).decode()


FEW = st.integers(0, 2)


@given(
    st.builds(
        BrokerCredentials,
        uri=st.sampled_from(["mqtts://a", "mqtts://b"]),
        client_id=st.sampled_from(["lamp-1", "lamp-2"]),
        certificate=st.binary(max_size=3),
        ca_certificate=st.binary(max_size=2),
        secret_key=st.binary(max_size=2),
        clean_session=st.booleans(),
        keep_alive_s=FEW,
        security_mode=FEW,
        certificate_usage=FEW,
    )
)
def test_what_brokers_have_in_common_is_each_ones_own(broker: BrokerCredentials) -> None:
    key = [Value("/18830/0/9", "opaque", base64(broker.secret_key))] if broker.secret_key else []
    values = broker_values(broker)
    assert list(values) == [
        Value("/18830/0/0", "string", broker.uri),
        Value("/18830/0/1", "string", broker.client_id),
        Value("/18830/0/2", "boolean", broker.clean_session),
        Value("/18830/0/3", "unsigned", broker.keep_alive_s),
        Value("/18830/0/6", "integer", broker.security_mode),
        Value("/18830/0/7", "opaque", base64(broker.certificate)),
        Value("/18830/0/8", "opaque", base64(broker.ca_certificate)),
        *key,
        Value("/18830/0/10", "integer", broker.certificate_usage),
    ]
    # Equal is not enough: 1 is True in Python, and not in JSON.
    assert [type(one.value) for one in values[2:5]] == [bool, int, int]


@given(
    st.builds(
        Publication,
        instance=FEW,
        source=st.sampled_from(["</3303>", "</3416>"]),
        topic=st.sampled_from(["devices/a/state", "devices/b/state"]),
        qos=FEW,
        retain=st.booleans(),
        encoding=FEW,
    ),
    st.booleans(),
)
def test_what_publications_have_in_common_is_each_ones_own(
    publication: Publication, is_active: bool
) -> None:
    path = f"/18831/{publication.instance}"
    values = publication_values(publication, is_active=is_active)
    assert list(values) == [
        Value(f"{path}/0", "corelnk", publication.source),
        Value(f"{path}/1", "objlnk", "18830:0"),
        Value(f"{path}/2", "string", publication.topic),
        Value(f"{path}/3", "unsigned", publication.qos),
        Value(f"{path}/4", "boolean", publication.retain),
        Value(f"{path}/5", "boolean", is_active),
        Value(f"{path}/6", "unsigned", publication.encoding),
    ]
    assert [type(one.value) for one in values[3:]] == [int, bool, bool, int]
