"""Register and Update: what is read, what is refused with which code, what is written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.coap.codes import code_text
from lwm2m.codecs import LinkFormatLimits, link_format
from lwm2m.errors import RegistrationRefused
from lwm2m.objects import ObjectPath
from lwm2m.registration import (
    RegisteredObjects,
    RegisterRequest,
    RegistrationPolicy,
    RegistrationReader,
    UpdateRequest,
    encode_register,
    encode_update,
    list_objects,
    read_objects,
)

OBJECTS = b'</>;rt="oma.lwm2m";ct=112,</1>;ver=1.1,</1/0>,</3/0>,</3416>;ver="2.0",</3416/0>'
QUERY = ("ep=lamp-1", "lt=300", "lwm2m=1.1", "b=U")
READER = RegistrationReader()


def _register(
    *query: str, reader: RegistrationReader = READER, proven: str | None = None
) -> RegisterRequest:
    return reader.read_register(query, OBJECTS, 40, proven)


def test_a_register_is_read_whole() -> None:
    request = _register(*QUERY, "Q", "sms=+491", "pid=6:27354b9a,oma:x", "vendor=a=b", "flag")
    assert request.endpoint_name == "lamp-1"
    assert request.lifetime_s == 300
    assert request.lwm2m_version == "1.1"
    assert (request.binding, request.queue_mode) == ("U", True)
    assert request.sms_number == "+491"
    assert request.profile_ids == ("6:27354b9a", "oma:x")
    assert request.parameters == (("vendor", "a=b"), ("flag", ""))
    assert request.objects == read_objects(OBJECTS)


def test_the_order_of_parameters_does_not_matter() -> None:
    assert _register(*QUERY) == _register(*reversed(QUERY))


def test_what_is_left_out_has_the_default_of_the_policy() -> None:
    request = _register("ep=lamp-1")
    assert (request.lifetime_s, request.lwm2m_version) == (86_400, "1.0")
    assert (request.binding, request.queue_mode) == ("U", False)
    assert _register("ep=lamp-1", "lt=0").lifetime_s == 0


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ((), "4.00", "missing_endpoint_name"),
        (("ep=",), "4.00", "missing_endpoint_name"),
        (("ep",), "4.00", "missing_endpoint_name"),
        (("ep=a/b",), "4.00", "illegal_endpoint_name"),
        (("ep=+",), "4.00", "illegal_endpoint_name"),
        (("ep=#",), "4.00", "illegal_endpoint_name"),
        (("ep=a b",), "4.00", "illegal_endpoint_name"),
        (("ep=a\x00",), "4.00", "illegal_endpoint_name"),
        (("ep=lamp\n",), "4.00", "illegal_endpoint_name"),
        (("ep=lämp",), "4.00", "illegal_endpoint_name"),
        (("ep=" + "x" * 129,), "4.00", "illegal_endpoint_name"),
        (("ep=lamp", "ep=lamp"), "4.00", "repeated_parameter"),
        (("ep=lamp", "lt=-1"), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lt="), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lt=1e3"), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lt=" + "9" * 18), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lt=" + "9" * 200), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lt=٣"), "4.00", "illegal_lifetime"),
        (("ep=lamp", "lwm2m=2.0"), "4.12", "unsupported_version"),
        (("ep=lamp", "lwm2m=1"), "4.00", "illegal_version"),
        (("ep=lamp", "lwm2m="), "4.00", "illegal_version"),
        (("ep=lamp", "lwm2m=1.1", "b=X"), "4.00", "illegal_binding"),
        (("ep=lamp", "lwm2m=1.1", "b="), "4.00", "illegal_binding"),
        (("ep=lamp", "lwm2m=1.1", "b=UU"), "4.00", "illegal_binding"),
        (("ep=lamp", "lwm2m=1.1", "b=UQ"), "4.00", "illegal_binding"),
        (("ep=lamp", "lwm2m=1.0", "b=T"), "4.00", "illegal_binding"),
        (("ep=lamp", "Q=1"), "4.00", "illegal_queue_mode"),
        (("ep=lamp", *[f"p{i}" for i in range(16)]), "4.00", "too_many_parameters"),
    ],
)
def test_queries_that_break_the_rules_are_refused(
    query: tuple[str, ...], code: str, reason: str
) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        _register(*query)
    assert (code_text(caught.value.code), caught.value.reason) == (code, reason)


@pytest.mark.parametrize(
    ("payload", "content_format", "code", "reason"),
    [
        (b"", 40, "4.00", "missing_object_list"),
        (b"\xff\x00", 40, "4.00", "malformed_object_list"),
        (b"</1/0", 40, "4.00", "malformed_object_list"),
        (b"</>;ct=json", 40, "4.00", "malformed_object_list"),
        (OBJECTS, 0, "4.00", "content_format"),
        (b"</1/0>," * 15_000, 40, "4.13", "object_list_too_large"),
    ],
)
def test_payloads_that_are_no_object_list_are_refused(
    payload: bytes, content_format: int, code: str, reason: str
) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        READER.read_register(QUERY, payload, content_format)
    assert (code_text(caught.value.code), caught.value.reason) == (code, reason)


def test_too_many_links_are_refused() -> None:
    reader = RegistrationReader(RegistrationPolicy(object_list=LinkFormatLimits(links_max=2)))
    with pytest.raises(RegistrationRefused) as caught:
        reader.read_register(QUERY, OBJECTS, 40)
    assert caught.value.reason == "malformed_object_list"


def test_an_object_list_may_lack_its_content_format() -> None:
    assert READER.read_register(QUERY, OBJECTS, None).objects == read_objects(OBJECTS)


def test_a_profile_may_stand_for_the_object_list() -> None:
    assert READER.read_register((*QUERY, "pid=6:00"), b"", None).objects.links == ()


def test_credentials_fill_in_for_the_endpoint_name_and_must_not_contradict_it() -> None:
    assert _register("lt=60", proven="lamp-1").endpoint_name == "lamp-1"
    assert _register(*QUERY, proven="lamp-1").endpoint_name == "lamp-1"
    with pytest.raises(RegistrationRefused) as caught:
        _register(*QUERY, proven="lamp-2")
    assert (caught.value.code, caught.value.reason) == (0x80, "foreign_endpoint_name")


@pytest.mark.parametrize(
    ("version", "binding", "expected"),
    [
        ("1.0", "UQ", ("U", True)),
        ("1.0", "UQS", ("US", True)),
        ("1.1", "UT", ("UT", False)),
        ("1.1", "NU", ("NU", False)),
        ("1.2", "MU", ("MU", False)),
    ],
)
def test_bindings_are_those_of_the_version(
    version: str, binding: str, expected: tuple[str, bool]
) -> None:
    request = _register("ep=lamp", f"lwm2m={version}", f"b={binding}")
    assert (request.binding, request.queue_mode) == expected


def test_a_policy_switches_what_the_standard_leaves_open() -> None:
    strict = RegistrationReader(
        RegistrationPolicy(lifetime_s_default=None, lwm2m_version_default=None)
    )
    for query, reason in (
        (("ep=lamp", "lt=60"), "missing_version"),
        (("ep=lamp", "lwm2m=1.1"), "missing_lifetime"),
    ):
        with pytest.raises(RegistrationRefused) as caught:
            _register(*query, reader=strict)
        assert caught.value.reason == reason
    lenient = RegistrationReader(
        RegistrationPolicy(
            endpoint_name_pattern=r".{1,64}",
            queue_mode_in_binding_is_allowed=True,
            empty_object_list_is_allowed=True,
        )
    )
    request = lenient.read_register(("ep=urn:a/b", "lwm2m=1.1", "b=UQ"), b"", None)
    assert (request.endpoint_name, request.binding, request.queue_mode) == ("urn:a/b", "U", True)


def test_object_lists_go_through_the_cache_that_was_brought() -> None:
    seen: list[bytes] = []

    def decode(payload: bytes) -> RegisteredObjects:
        seen.append(payload)
        return read_objects(payload)

    RegistrationReader(decode_objects=decode).read_register(QUERY, OBJECTS, 40)
    assert seen == [OBJECTS]


# --- Update


def test_an_empty_update_changes_nothing() -> None:
    assert READER.read_update((), b"", None, "1.1") == UpdateRequest()


def test_an_update_says_only_what_changes() -> None:
    update = READER.read_update(("lt=60", "b=UT", "Q", "x=1"), b"</3/0>", 40, "1.1")
    assert (update.lifetime_s, update.binding, update.queue_mode) == (60, "UT", True)
    assert update.parameters == (("x", "1"),)
    assert update.objects == read_objects(b"</3/0>")


@pytest.mark.parametrize("query", [("lt=x",), ("b=X",), ("lt=1", "lt=2"), ("Q=2",)])
def test_an_update_that_breaks_the_rules_is_refused(query: tuple[str, ...]) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        READER.read_update(query, b"", None, "1.1")
    assert code_text(caught.value.code) == "4.00"


# --- object lists


def test_an_object_list_is_read() -> None:
    objects = read_objects(OBJECTS)
    assert objects.root == "/"
    assert objects.content_formats == (112,)
    assert objects.versions == {1: "1.1", 3416: "2.0"}
    assert objects.objects == {1, 3, 3416}
    assert objects.instances == (ObjectPath(1, 0), ObjectPath(3, 0), ObjectPath(3416, 0))
    assert objects.has_instance(3416, 0)
    assert not objects.has_instance(18830, 0)
    assert (objects.version_of(3416), objects.version_of(3)) == ("2.0", "1.0")


def test_objects_may_be_under_another_root() -> None:
    objects = read_objects(b'</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>,</1/0>,</lwm2m/9>;ver=1.0')
    assert objects.root == "/lwm2m"
    assert objects.instances == (ObjectPath(3, 0),)
    assert objects.objects == {3, 9}


def test_links_that_are_no_objects_are_kept_and_ignored() -> None:
    objects = read_objects(b"</sensors/temp>,</3/0/1>,</3/0/>,</3/0>,<coap://x/3/0>")
    assert len(objects.links) == 5
    assert objects.instances == (ObjectPath(3, 0),)


def test_a_list_is_made_from_instances_and_versions() -> None:
    objects = list_objects(
        [ObjectPath(3416, 0), ObjectPath(1, 0), ObjectPath(3, 0)],
        {1: "1.1", 3: "1.0", 18830: "1.0"},
        (112, 11542),
        (18830,),
    )
    assert link_format.encode(objects.links) == (
        b'</>;rt="oma.lwm2m";ct="112 11542",</1>;ver=1.1,</1/0>,</3/0>,</3416/0>,</18830>'
    )


# --- written and read back

REQUESTS = st.builds(
    RegisterRequest,
    st.from_regex(r"[A-Za-z0-9:_-]{1,128}", fullmatch=True),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["1.0", "1.1", "1.2"]),
    st.just(read_objects(OBJECTS)),
    st.sampled_from(["U", "S", "US"]),
    st.booleans(),
    st.none() | st.from_regex(r"\+[0-9]{5,12}", fullmatch=True),
    st.lists(st.from_regex(r"6:[0-9a-f]{8}", fullmatch=True), max_size=2).map(tuple),
    st.sampled_from([(), (("vendor", "x"),), (("v", ""), ("w", "1=2"))]),
)


@pytest.mark.slow
@given(REQUESTS)
@settings(max_examples=100, deadline=None)
def test_a_register_that_was_written_is_read_again(request: RegisterRequest) -> None:
    query, payload = encode_register(request)
    assert READER.read_register(query, payload, 40) == request


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "update",
    [
        UpdateRequest(),
        UpdateRequest(lifetime_s=60),
        UpdateRequest(binding="U", queue_mode=True),
        UpdateRequest(binding="U", queue_mode=False, sms_number="1"),
        UpdateRequest(queue_mode=True),
        UpdateRequest(objects=read_objects(OBJECTS), parameters=(("x", "y"),)),
    ],
)
def test_an_update_that_was_written_is_read_again(update: UpdateRequest, version: str) -> None:
    query, payload = encode_update(update, version)
    assert READER.read_update(query, payload, 40 if payload else None, version) == update


TEXTS = st.text(max_size=20) | st.sampled_from(["ep=a", "lt=5", "lwm2m=1.1", "b=UQ", "Q", "=", ""])


@pytest.mark.slow
@given(
    st.lists(TEXTS, max_size=6).map(tuple),
    st.binary(max_size=40) | st.text('</>;,="103', max_size=30).map(str.encode),
    st.none() | st.integers(0, 65535),
)
@settings(max_examples=300, deadline=None)
def test_any_request_is_read_or_refused(
    query: tuple[str, ...], payload: bytes, content_format: int | None
) -> None:
    for read in (
        lambda: READER.read_register(query, payload, content_format),
        lambda: READER.read_update(query, payload, content_format, "1.1"),
    ):
        try:
            read()
        except RegistrationRefused as refused:
            code = code_text(refused.code)
        else:
            code = "2.04"
        assert code in ("2.04", "4.00", "4.12", "4.13")


def test_a_profile_that_nobody_can_resolve_is_answered_conflict() -> None:
    reader = RegistrationReader(knows_profile=lambda profile: profile == "6:27354b9a")
    assert _register(*QUERY, "pid=6:27354b9a", reader=reader).profile_ids == ("6:27354b9a",)
    with pytest.raises(RegistrationRefused) as refused:
        _register(*QUERY, "pid=6:27354b9a,oma:x", reader=reader)
    assert (code_text(refused.value.code), refused.value.reason) == ("4.09", "unknown_profile")
    with pytest.raises(RegistrationRefused):
        reader.read_update(("pid=oma:x",), b"", None, "1.2")


@pytest.mark.parametrize("profiles", [None, (), ("6:27354b9a", "oma:x")])
def test_an_update_may_bring_other_profiles(profiles: tuple[str, ...] | None) -> None:
    request = UpdateRequest(profile_ids=profiles)
    query, payload = encode_update(request, "1.2")
    assert READER.read_update(query, payload, None, "1.2") == request


def test_a_query_that_was_seen_before_is_read_as_it_was_the_first_time() -> None:
    reader = RegistrationReader()
    first = _register(*QUERY, "Q", "vendor=x", reader=reader)
    again = _register("lt=300", "lwm2m=1.1", "b=U", "ep=lamp-2", "Q", "vendor=x", reader=reader)
    assert again == RegisterRequest(
        "lamp-2", 300, "1.1", first.objects, "U", True, None, (), (("vendor", "x"),)
    )
    assert _register(*QUERY, reader=reader).queue_mode is False


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (("ep=a b", *QUERY[1:]), "illegal_endpoint_name"),
        (("ep=", *QUERY[1:]), "missing_endpoint_name"),
        ((*QUERY, "ep=lamp-2"), "repeated_parameter"),
        ((*QUERY, "ep"), "repeated_parameter"),
        ((*QUERY, "lt=300"), "repeated_parameter"),
    ],
)
def test_what_a_query_has_wrong_is_refused_however_often_the_rest_was_seen(
    query: tuple[str, ...], reason: str
) -> None:
    reader = RegistrationReader()
    for _ in range(2):
        _register(*QUERY, reader=reader)
        with pytest.raises(RegistrationRefused) as caught:
            _register(*query, reader=reader)
        assert caught.value.reason == reason


def test_a_foreign_name_is_refused_also_when_the_rest_was_seen() -> None:
    reader = RegistrationReader()
    assert _register(*QUERY, reader=reader, proven="lamp-1").endpoint_name == "lamp-1"
    with pytest.raises(RegistrationRefused) as caught:
        _register(*QUERY, reader=reader, proven="lamp-2")
    assert caught.value.reason == "foreign_endpoint_name"
    assert _register(*QUERY[1:], reader=reader, proven="lamp-2").endpoint_name == "lamp-2"


def test_queries_that_are_all_different_do_not_fill_the_memory() -> None:
    reader = RegistrationReader()
    for lifetime_s in range(2_000):
        query = ("ep=lamp-1", f"lt={lifetime_s}")
        assert _register(*query, reader=reader).lifetime_s == lifetime_s
    assert len(reader._said) <= 512
