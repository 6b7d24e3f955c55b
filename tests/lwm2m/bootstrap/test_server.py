"""The bootstrap server's half: requests read, plans laid out, sessions carried through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.bootstrap import (
    SESSION_TRANSITIONS,
    BootstrapPlan,
    BootstrapSession,
    Discovered,
    ServerAccountPlan,
    SessionEvent,
    SessionState,
    encode_pack,
    read_bootstrap_request,
    read_discovery,
    read_pack_request,
)
from lwm2m.bootstrap.server_plan import planned_nodes, remaining_steps
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import Node, content_formats, decode_payload, link_format
from lwm2m.errors import BootstrapRefused, IllegalTransition
from lwm2m.objects import ObjectPath, builtin_models

MODELS = builtin_models()
ACCOUNT = ServerAccountPlan(101, "coap://127.0.0.1:5683", lifetime_s=300)
PLAN = BootstrapPlan(accounts=(ACCOUNT,))
DISCOVERY = Response(
    codes.CONTENT,
    b'</>;lwm2m=1.1,</0/0>,</0/1>;ssid=101;uri="coap://a",</1/0>;ssid=101,</3/0>',
    content_formats.LINK_FORMAT,
)


# ---- requests ----


def test_a_request_names_its_client_and_the_format_it_prefers() -> None:
    found = read_bootstrap_request(["ep=lamp-1", "pct=112"], None)
    assert (found.endpoint_name, found.preferred_format) == ("lamp-1", 112)


def test_security_supplies_the_endpoint_name_that_a_request_leaves_out() -> None:
    assert read_bootstrap_request([], "lamp-1").endpoint_name == "lamp-1"


@pytest.mark.parametrize(
    ("query", "proven", "code", "reason"),
    [
        ([], None, "4.00", "missing_endpoint_name"),
        (["ep="], "lamp-1", "4.00", "missing_endpoint_name"),
        (["ep=lamp-2"], "lamp-1", "4.00", "identity_mismatch"),
        (["ep=lamp-1", "ep=lamp-1"], None, "4.00", "repeated_parameter"),
        (["ep=lamp-1", "pct=x"], None, "4.00", "malformed_format"),
        (["ep=lamp-1", "pct=0"], None, "4.15", "preferred_format"),
    ],
)
def test_a_request_that_cannot_be_granted_is_refused_by_its_reason(
    query: list[str], proven: str | None, code: str, reason: str
) -> None:
    with pytest.raises(BootstrapRefused) as caught:
        read_bootstrap_request(query, proven)
    assert (codes.code_text(caught.value.code), caught.value.reason) == (code, reason)


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [(["ep=a"], None, 112), (["ep=a", "acc=110"], None, 110), (["ep=a", "acc=110"], 11544, 11544)],
)
def test_a_pack_comes_in_the_format_that_was_asked_for(
    query: list[str], accept: int | None, expected: int
) -> None:
    assert read_pack_request(query, accept, None).content_format == expected


def test_a_pack_in_tlv_is_not_acceptable() -> None:
    with pytest.raises(BootstrapRefused) as caught:
        read_pack_request(["ep=a"], content_formats.TLV, None)
    assert caught.value.code == codes.NOT_ACCEPTABLE


@given(st.lists(st.text()), st.none() | st.integers(0, 65_535), st.none() | st.text())
def test_any_query_is_read_or_refused(
    query: list[str], accept: int | None, proven: str | None
) -> None:
    for read in (
        lambda: read_bootstrap_request(query, proven),
        lambda: read_pack_request(query, accept, proven),
    ):
        try:
            assert read().endpoint_name
        except BootstrapRefused as error:
            refused = error.code
            assert refused in (codes.BAD_REQUEST, codes.UNSUPPORTED_CONTENT_FORMAT, 0x86)


# ---- what is discovered ----


def test_an_instance_without_short_server_id_is_the_bootstrap_account() -> None:
    assert read_discovery(link_format.decode(DISCOVERY.payload)) == Discovered(
        "1.1", ((0, None), (1, 101)), ((0, 101),)
    )


def test_links_that_say_nothing_of_accounts_are_passed_over() -> None:
    links = link_format.decode(b'</0/1>;ssid=x,</0>,</x>,</0/1/2>,</3/0>;ssid="1"')
    assert read_discovery(links) == Discovered(None, ((1, None),), ())


# ---- where accounts go ----


def _instances(plan: BootstrapPlan, discovered: Discovered | None) -> list[str]:
    return sorted({str(node.path.instance) for node in planned_nodes(plan, discovered)})


def test_an_account_never_takes_the_bootstrap_accounts_instance() -> None:
    discovered = Discovered("1.1", ((0, None), (1, 101)), ((0, 101),))
    assert _instances(PLAN, discovered) == ["/0/1", "/1/0"]


def test_an_account_that_is_not_deleted_is_written_where_it_is() -> None:
    discovered = Discovered("1.1", ((0, None), (5, 101), (6, 102)), ((7, 101),))
    plan = BootstrapPlan(accounts=(ACCOUNT, ServerAccountPlan(103, "coap://b")), deletes=())
    assert _instances(plan, discovered) == ["/0/1", "/0/5", "/1/0", "/1/7"]


def test_instances_that_nobody_saw_are_chosen_clear_of_a_bootstrap_account() -> None:
    assert _instances(PLAN, None) == ["/0/2", "/1/0"]


def test_values_of_the_plans_own_keep_their_instances() -> None:
    plan = BootstrapPlan(
        accounts=(ACCOUNT,), nodes=(Node(ObjectPath(1, 0, 1), 60),), deletes=(None,)
    )
    assert _instances(plan, Discovered(None, (), ())) == ["/0/0", "/1/0", "/1/1"]


# ---- formats ----


@pytest.mark.parametrize(
    ("plan_format", "version", "preferred", "expected"),
    [
        (None, None, None, content_formats.TLV),
        (None, "1.0", None, content_formats.TLV),
        (None, "1.1", None, content_formats.SENML_CBOR),
        (None, "1.1", content_formats.SENML_JSON, content_formats.SENML_JSON),
        (content_formats.TLV, "1.1", content_formats.SENML_JSON, content_formats.TLV),
    ],
)
def test_writes_are_in_the_format_that_the_plan_the_client_or_its_version_chooses(
    plan_format: int | None, version: str | None, preferred: int | None, expected: int
) -> None:
    plan = BootstrapPlan(accounts=(ACCOUNT,), content_format=plan_format)
    steps = remaining_steps(plan, Discovered(version), preferred, MODELS)
    assert {s.request.content_format for s in steps if s.operation == "write"} == {expected}


def test_a_pack_carries_the_whole_plan() -> None:
    for content_format in (110, 112, 11544):
        payload = encode_pack(PLAN, content_format, MODELS)
        found = dict(decode_payload(content_format, None, payload, MODELS))
        assert found[ObjectPath(0, 2, 0)] == ACCOUNT.uri
        assert found[ObjectPath(1, 0, 1)] == ACCOUNT.lifetime_s


# ---- sessions ----


def _sent(session: BootstrapSession) -> list[Request]:
    """Every request of a session that is answered well, in order."""
    requests: list[Request] = []
    request = session.start()
    while request is not None:
        requests.append(request)
        request = session.answered(_good_answer(request))
    return requests


def _good_answer(request: Request) -> Response:
    if request.code == codes.GET:
        return DISCOVERY if not request.path else Response(codes.CONTENT, b"[]", 110)
    return Response(codes.DELETED if request.code == codes.DELETE else codes.CHANGED)


def test_a_session_discovers_deletes_writes_reads_and_finishes() -> None:
    plan = BootstrapPlan(accounts=(ACCOUNT,), reads=(ObjectPath(1),))
    session = BootstrapSession(plan, MODELS)
    sent = [(codes.code_text(r.code), "/" + "/".join(r.path)) for r in _sent(session)]
    assert sent == [
        ("0.01", "/"), ("0.04", "/0"), ("0.04", "/1"), ("0.03", "/0/1"), ("0.03", "/1/0"),
        ("0.01", "/1"), ("0.02", "/bs"),
    ]  # fmt: skip
    assert session.state is SessionState.FINISHED
    assert session.contents == [(ObjectPath(1), 110, b"[]")]
    assert [r.code for r in session.results][-1] == "2.04"


def test_a_root_delete_goes_to_the_root() -> None:
    session = BootstrapSession(BootstrapPlan(deletes=(None,), discovers=False), MODELS)
    assert [(r.code, r.path) for r in _sent(session)] == [
        (codes.DELETE, ()),
        (codes.POST, ("bs",)),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        Response(codes.METHOD_NOT_ALLOWED),
        Response(codes.CONTENT, b"[]", content_formats.SENML_JSON),
        Response(codes.CONTENT, b"<", content_formats.LINK_FORMAT),
    ],
)
def test_a_client_that_cannot_be_discovered_is_bootstrapped_all_the_same(answer: Response) -> None:
    session = BootstrapSession(PLAN, MODELS)
    session.start()
    assert session.answered(answer) is not None
    assert session.discovered is None
    assert session.results[0].detail


def test_a_refused_write_fails_the_session_and_names_the_path() -> None:
    session = BootstrapSession(BootstrapPlan(accounts=(ACCOUNT,), discovers=False), MODELS)
    session.start()
    session.answered(Response(codes.DELETED))
    session.answered(Response(codes.DELETED))
    assert session.answered(Response(codes.BAD_REQUEST)) is None
    assert session.state is SessionState.FAILED
    assert (session.results[-1].path, session.results[-1].code) == ("/0/2", "4.00")


def test_a_finish_that_is_not_acceptable_fails_the_session() -> None:
    session = BootstrapSession(BootstrapPlan(deletes=(), discovers=False), MODELS)
    assert session.start() == Request(codes.POST, ("bs",))
    assert session.answered(Response(codes.NOT_ACCEPTABLE)) is None
    assert session.state is SessionState.FAILED


def test_no_answer_fails_the_session() -> None:
    session = BootstrapSession(PLAN, MODELS)
    session.start()
    session.unanswered("timeout")
    assert (session.state, session.results[-1].code) == (SessionState.FAILED, None)
    with pytest.raises(IllegalTransition):
        session.answered(DISCOVERY)


def test_a_plan_that_cannot_be_written_fails_the_session_without_its_values() -> None:
    nodes = (Node(ObjectPath(1, 0, 1), "never shown"),)
    session = BootstrapSession(BootstrapPlan(nodes=nodes, discovers=False, deletes=()), MODELS)
    assert session.start() is None
    assert session.state is SessionState.FAILED
    assert "never shown" not in repr(session.results)


def test_a_client_that_asks_again_replaces_its_session() -> None:
    session = BootstrapSession(PLAN, MODELS)
    session.start()
    session.replaced()
    assert session.has_ended
    session.replaced()
    with pytest.raises(IllegalTransition):
        session.start()


def test_an_account_shows_no_key() -> None:
    shown = repr(ServerAccountPlan(1, "coaps://a", identity=b"who", secret_key=b"hidden"))
    assert "hidden" not in shown


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("event", SessionEvent)
def test_every_cell_of_the_table_is_written_out(state: SessionState, event: SessionEvent) -> None:
    target = SESSION_TRANSITIONS[state][event]
    assert target is None or isinstance(target, SessionState)
    if state in (SessionState.FINISHED, SessionState.FAILED):
        assert target is None
