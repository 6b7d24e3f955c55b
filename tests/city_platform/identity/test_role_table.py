"""Every cell of the table of roles, and every token that must let nobody in."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import pytest

from city_platform.control.group_routes import GroupRoutes
from city_platform.control.routes import ControlRoutes
from city_platform.dashboard.bridge_routes import BridgeRoutes as DashboardBridgeRoutes
from city_platform.dashboard.device_routes import DeviceRoutes
from city_platform.dashboard.import_routes import ImportRoutes
from city_platform.dashboard.live import LiveFeeds
from city_platform.dashboard.map_routes import MapRoutes
from city_platform.dashboard.session_routes import SessionRoutes
from city_platform.identity.claims import FAULTS, TokenFault
from city_platform.identity.config import Role
from city_platform.identity.operations import OPERATIONS, ROLES, Operation, Scope, operation_named
from city_platform.identity.page import PAGE, roles_page
from city_platform.identity.routes import IdentityRoutes
from city_platform.ingestion.alarm_routes import AlarmRoutes
from city_platform.ingestion.api import IngestionApi
from city_platform.ingestion.dead_letter_routes import DeadLetterRoutes
from city_platform.ingestion.state_routes import StateRoutes
from city_platform.ingestion.telemetry_routes import TelemetryRoutes
from city_platform.ingestion.upkeep import Upkeep
from city_platform.provisioning.api import ProvisioningApi
from city_platform.provisioning.certificate_routes import CertificateRoutes
from city_platform.provisioning.search_routes import SearchRoutes
from tests.city_platform.identity.issuing import (
    NOW_S,
    SERVICE_TOKEN,
    Records,
    altered,
    ask,
    claims,
    gate,
    path_of,
    signed_with_the_public_key,
    token,
    unsigned,
)

GUARDED = [one for one in OPERATIONS if one.scope is not Scope.PUBLIC]
# Who has every role, so that only what is wrong with the token can keep them out.
EVERYTHING = [f"*:{role}" for role in ROLES]
PEOPLE: list[Role] = [role for role in get_args(Role) if role != "service"]

WRONG_TOKENS: dict[str, tuple[str | None, TokenFault]] = {
    "missing": (None, TokenFault.MISSING),
    "expired": (token(claims(*EVERYTHING, exp=NOW_S - 6)), TokenFault.EXPIRED),
    "not yet valid": (token(claims(*EVERYTHING, nbf=NOW_S + 6)), TokenFault.NOT_YET_VALID),
    "signed by another key": (token(claims(*EVERYTHING), number=2), TokenFault.SIGNATURE),
    "altered": (altered(claims("harbour:analyst"), sub="root"), TokenFault.SIGNATURE),
    "of another issuer": (
        token(claims(*EVERYTHING, iss="https://issuer.example/other")), TokenFault.ISSUER,
    ),
    "for another audience": (token(claims(*EVERYTHING, aud="billing")), TokenFault.AUDIENCE),
    "without an audience": (
        token(claims(*EVERYTHING, aud=None, client_id="billing")), TokenFault.AUDIENCE,
    ),
    "unsigned": (unsigned(claims(*EVERYTHING)), TokenFault.ALGORITHM),
    "HS256 with the public key": (
        signed_with_the_public_key(claims(*EVERYTHING)), TokenFault.ALGORITHM,
    ),
    "of an unknown key": (token(claims(*EVERYTHING), {"kid": "k9"}), TokenFault.UNKNOWN_KEY),
    "an id token": (token(claims(*EVERYTHING, token_use="id")), TokenFault.USE),
    "without an end": (token(claims(*EVERYTHING, exp=None)), TokenFault.MALFORMED),
    "of nobody": (token(claims(*EVERYTHING, sub=None)), TokenFault.NO_SUBJECT),
    "no token at all": ("nonsense", TokenFault.MALFORMED),
    "almost the program's": (SERVICE_TOKEN + "x", TokenFault.MALFORMED),
}  # fmt: skip


def name_of(operation: Operation) -> str:
    return operation.name


def status(operation: Operation, bearer: str | None, path: str | None = None) -> int:
    answer = asyncio.run(
        ask(gate(operation.component), operation.method, path or path_of(operation), bearer)
    )
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"type", "status", "title", "detail"}
    return answer.status_code


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_the_tenant_may_what_the_table_says(operation: Operation, role: Role) -> None:
    is_free = operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN)
    # No issuer can make anybody a program of the installation.
    has_role = role in operation.roles and role != "service"
    own = has_role and operation.scope is not Scope.INSTALLATION
    bearer = token(claims(f"harbour:{role}"))
    assert status(operation, bearer) == (200 if is_free or own else 403)
    everywhere = token(claims(f"*:{role}"))
    assert status(operation, everywhere) == (200 if is_free or has_role else 403)


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
@pytest.mark.parametrize("role", PEOPLE)
def test_a_role_of_another_tenant_reaches_no_device(operation: Operation, role: Role) -> None:
    bearer = token(claims(f"hills:{role}"))
    is_free = operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN)
    # What tells of no device is for whoever has the role somewhere; handlers narrow the rest.
    elsewhere = operation.scope in (Scope.NARROWED, Scope.ANY) and role in operation.roles
    assert status(operation, bearer) == (200 if is_free or elsewhere else 403)


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
@pytest.mark.parametrize("kind", WRONG_TOKENS)
def test_a_wrong_token_lets_nobody_in(operation: Operation, kind: str) -> None:
    bearer, fault = WRONG_TOKENS[kind]
    answer = asyncio.run(
        ask(gate(operation.component), operation.method, path_of(operation), bearer)
    )
    assert answer.status_code == 401
    assert answer.json()["detail"] == FAULTS[fault]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert bearer is None or bearer not in answer.text


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_somebody_without_any_role_may_nothing(operation: Operation) -> None:
    is_free = operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN)
    for groups in ((), ("harbour:", ":controller", "controller", "harbour:root", "a b:analyst")):
        assert status(operation, token(claims(*groups))) == (200 if is_free else 403)


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_a_program_may_what_its_roles_say(operation: Operation) -> None:
    is_free = operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN)
    has_role = bool({"analyst", "service"} & set(operation.roles))
    assert status(operation, SERVICE_TOKEN) == (200 if is_free or has_role else 403)


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_public_operations_ask_for_nothing_and_others_for_a_token(operation: Operation) -> None:
    assert status(operation, None) == (200 if operation.scope is Scope.PUBLIC else 401)


@pytest.mark.parametrize("component", sorted({one.component for one in OPERATIONS}))
def test_what_is_not_in_the_table_nobody_may(component: str) -> None:
    app = gate(component)

    async def story() -> None:
        everything = token(claims(*EVERYTHING))
        # The routes are there: it is the gate that does not let through.
        assert (await ask(app, "GET", "/hidden", everything)).status_code == 404
        assert (await ask(app, "GET", "/hidden", None)).status_code == 401
        of_it = [one for one in OPERATIONS if one.component == component]
        deletable = {one.path for one in of_it if one.method == "DELETE"}
        known = next(one for one in of_it if one.path not in deletable)
        wrong = await ask(app, "DELETE", path_of(known), everything)
        assert wrong.status_code == 405
        assert known.method in wrong.headers["allow"]
        assert (await ask(app, "GET", "/healthz", None)).status_code == 200

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/devices/lamp-harbour/readings", 200),
        ("/v1/devices/lamp-hills/readings", 403),
        ("/v1/devices/lamp-nobody/readings", 403),
        ("/v1/devices/lamp-hills%2Freadings", 403),
        ("/v1/devices/lamp-harbour/readings/", 404),
        ("/v1/devices//readings", 404),
        ("/v1/devices/lamp-harbour/../lamp-hills/readings", 403),
        ("//v1/feed", 404),
    ],
)
def test_no_spelling_of_a_path_reaches_another_tenants_device(path: str, expected: int) -> None:
    bearer = token(claims("harbour:analyst"))
    assert status(operation_named("read_readings"), bearer, path) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?tenant=harbour", 200),
        ("?tenant=hills", 403),
        ("", 403),
        ("?tenant=harbour&tenant=hills", 403),
        ("?tenant=", 403),
        ("?Tenant=harbour", 403),
        ("?tenant=harbour%00", 403),
    ],
)
def test_a_search_is_for_the_tenant_that_it_names(query: str, expected: int) -> None:
    operation = operation_named("search_devices")
    bearer = token(claims("harbour:analyst"))
    assert status(operation, bearer, f"/v1/devices{query}") == expected


def test_what_is_said_of_anothers_device_is_what_is_said_of_none() -> None:
    async def story() -> None:
        app, bearer = gate("ingestion"), token(claims("harbour:analyst"))
        others = await ask(app, "GET", "/v1/devices/lamp-hills/readings", bearer)
        none = await ask(app, "GET", "/v1/devices/lamp-nobody/readings", bearer)
        assert others.json() == none.json()

    asyncio.run(story())


def test_an_answer_about_anothers_device_does_not_leave() -> None:
    async def story() -> None:
        app, bearer = gate("control"), token(claims("harbour:controller"))
        own = await ask(app, "GET", "/v1/commands/1?endpoint=lamp-harbour", bearer)
        assert own.status_code == 200
        other = await ask(app, "GET", "/v1/commands/1?endpoint=lamp-hills", bearer)
        assert other.status_code == 403
        assert "lamp-hills" not in other.text
        missing = await ask(app, "GET", "/v1/commands/1?status=404", bearer)
        assert missing.status_code == 404

    asyncio.run(story())


def test_audited_operations_are_kept_with_who_and_how_they_ended() -> None:
    async def story(records: Records) -> None:
        app = gate("control", records)
        path = "/v1/devices/lamp-harbour/commands"
        await ask(app, "POST", path, token(claims("harbour:controller")))
        await ask(app, "POST", f"{path}?status=422", token(claims("harbour:controller")))
        await ask(app, "POST", path, token(claims("harbour:analyst")))
        await ask(app, "POST", path, None)
        await ask(app, "GET", "/v1/commands/1", token(claims("harbour:controller")))

    records = Records()
    asyncio.run(story(records))
    kept = [(act.who, act.device, code, reference) for act, code, reference in records.ended]
    assert kept == [
        ("ann", "lamp-harbour", 200, "made-1"),
        ("ann", "lamp-harbour", 422, "made-1"),
        ("ann", "lamp-harbour", 403, ""),
    ]
    assert len(records.begun) == 3


def test_what_cannot_be_audited_is_not_done() -> None:
    async def story() -> None:
        records = Records()
        records.is_full = True
        app = gate("control", records)
        answer = await ask(
            app, "POST", "/v1/devices/lamp-harbour/commands", token(claims("harbour:controller"))
        )
        assert answer.status_code == 503
        assert not records.ended

    asyncio.run(story())


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Basic YTpi", "bearer\txx", "Bearer ünï", "Token x", ""],
)
def test_a_wrong_authorization_header_is_not_signed_in(value: str) -> None:
    headers = [(b"authorization", value.encode())]
    answer = asyncio.run(ask(gate("control"), "GET", "/v1/counts", None, headers))
    assert answer.status_code == 401


def test_two_authorization_headers_are_not_signed_in() -> None:
    good = f"Bearer {SERVICE_TOKEN}".encode()
    headers = [(b"authorization", good), (b"authorization", b"Bearer other")]
    answer = asyncio.run(ask(gate("control"), "GET", "/v1/counts", None, headers))
    assert answer.status_code == 401


def _paths(routes: Any) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in routes
        for method in route.methods - {"HEAD"}
        if route.path not in ("/healthz", "/readyz")
    }


@pytest.mark.parametrize(
    ("component", "routes"),
    [
        ("control", ControlRoutes(*[None] * 3).routes),  # type: ignore[arg-type] # never called
        ("control", GroupRoutes(*[None] * 4).routes),  # type: ignore[arg-type] # never called
        ("identity", IdentityRoutes(*[None] * 4).routes),  # type: ignore[arg-type] # never called
        ("ingestion", IngestionApi(*[None] * 5).routes()),  # type: ignore[arg-type] # never called
        ("ingestion", AlarmRoutes.routes(AlarmRoutes.__new__(AlarmRoutes))),
        ("ingestion", DeadLetterRoutes.routes(DeadLetterRoutes.__new__(DeadLetterRoutes))),
        ("ingestion", StateRoutes.routes(StateRoutes.__new__(StateRoutes))),
        ("ingestion", TelemetryRoutes.routes(TelemetryRoutes.__new__(TelemetryRoutes))),
        ("ingestion", Upkeep.routes(Upkeep.__new__(Upkeep))),
        ("provisioning", ProvisioningApi(*[None] * 7).routes()),  # type: ignore[arg-type] # never
        ("provisioning", SearchRoutes(*[None] * 3).routes()),  # type: ignore[arg-type] # never
        ("provisioning", CertificateRoutes.routes(CertificateRoutes.__new__(CertificateRoutes))),
    ],
)
def test_every_route_of_a_component_is_in_the_table(component: str, routes: Any) -> None:
    known = {(one.method, one.path) for one in OPERATIONS if one.component == component}
    missing = _paths(routes) - known
    assert not missing, "city_platform/identity/operations.py must say who may"


@pytest.mark.parametrize(
    "kind",
    [SessionRoutes, MapRoutes, DeviceRoutes, ImportRoutes, DashboardBridgeRoutes, LiveFeeds],
)
def test_every_route_of_the_dashboard_is_in_the_table(kind: Any) -> None:
    known = {(one.method, one.path) for one in OPERATIONS if one.component == "dashboard"}
    assert not _paths(kind.routes.fget(kind.__new__(kind))) - known


def test_names_and_routes_are_there_once() -> None:
    names = [one.name for one in OPERATIONS]
    places = [(one.component, one.method, one.path) for one in OPERATIONS]
    assert len(set(names)) == len(names)
    assert len(set(places)) == len(places)


def test_the_page_of_roles_is_as_the_code_says() -> None:
    assert PAGE.read_text() == roles_page(), "run: python -m city_platform.identity.page"
