"""The HTTP side of certificates, authority, groups, policies and removals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, get_args

import msgspec
from cryptography import x509
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.provisioning.certificates import issued_at_us
from city_platform.provisioning.csr import REQUEST_BYTES_MAX, InvalidRequest, read_request
from city_platform.provisioning.importing import Stores
from city_platform.provisioning.key_files import pem
from city_platform.provisioning.lifecycle import (
    CertificateLifecycle,
    KeepsItsKey,
    NoSuchCertificate,
    NoSuchDevice,
)
from city_platform.provisioning.removal import Removals, RemovalWaits
from city_platform.provisioning.revocations import Revocations
from city_platform.provisioning.rollover import AuthorityFiles, ImpossibleStep
from city_platform.stores.certificate_register import CertificateQuery, CertificateRecord
from city_platform.stores.certificate_states import ImpossibleCertificateEvent
from contracts.api import (
    AuthorityStatus,
    CertificatePage,
    CertificateRequest,
    CertificateState,
    CertificateStatus,
    GroupMembers,
    IssuedCertificate,
    RemovedDevice,
    Revocation,
    RolloverRequest,
    RotationRequest,
    RotationState,
    ThingGroups,
)
from runtime.http import BodyTooLarge, json_response, problem, read_body

BODY_BYTES_MAX: Final = 2 * REQUEST_BYTES_MAX
LIMIT_MAX: Final = 999
COUNTED_MAX: Final = 1_000_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_B = TypeVar("_B", bound=msgspec.Struct)


class _WrongBody(ValueError):
    """A request's body is none of those that the route takes."""


class CertificateRoutes:
    """The routes and what they need. `reissue` gives services and broker certificates of the
    authority that signs now; `who` tells whose request it is."""

    def __init__(
        self,
        stores: Stores,
        authorities: AuthorityFiles,
        lifecycle: CertificateLifecycle,
        revocations: Revocations,
        removals: Removals,
        *,
        reissue: Callable[[], None],
        wall_us: Callable[[], int],
    ) -> None:
        self._stores = stores
        self._register = stores.things.register
        self._authorities = authorities
        self._lifecycle = lifecycle
        self._revocations = revocations
        self._removals = removals
        self._reissue = reissue
        self._wall_us = wall_us

    def routes(self) -> Sequence[BaseRoute]:
        """All routes."""
        return [
            Route("/v1/devices/{endpoint}", self._delete_device, methods=["DELETE"]),
            Route("/v1/devices/{endpoint}/certificate", self._replace, methods=["POST"]),
            Route("/v1/certificates", self._list),
            Route("/v1/certificates/{sha256}/revoke", self._revoke, methods=["POST"]),
            Route("/v1/revoked", self._revoked),
            Route("/v1/rotations", self._rotate, methods=["POST"]),
            Route("/v1/rotations", self._rotations),
            Route("/v1/authority", self._step, methods=["POST"]),
            Route("/v1/authority", self._authority),
            Route("/v1/groups", self._groups),
            Route("/v1/groups/members", self._members),
            Route("/v1/policies/{name}", self._policy),
        ]

    async def _delete_device(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        try:
            steps = await self._removals.remove(endpoint, caller_of(request))
        except RemovalWaits as error:
            return problem(503, "the removal goes on later", str(error))
        if steps is None:
            return _no_device(endpoint)
        return json_response(RemovedDevice(endpoint=endpoint, steps=steps))

    async def _replace(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        try:
            wanted = await _read(request, CertificateRequest)
            public = None if wanted.csr is None else read_request(wanted.csr.encode(), endpoint)
            made = await self._lifecycle.replace(endpoint, public)
        except _WrongBody as error:
            return problem(400, "wrong request", str(error))
        except InvalidRequest as error:
            return problem(422, "wrong signing request", str(error))
        except NoSuchDevice:
            return _no_device(endpoint)
        except KeepsItsKey:
            return problem(
                409, "the device keeps its key", "send a signing request (csr) that it has made"
            )
        return json_response(
            IssuedCertificate(
                sha256=made.sha256,
                certificate=pem("CERTIFICATE", made.der).decode(),
                anchors=self._anchors(),
                expires_at_us=made.expires_at_us,
            ),
            201,
        )

    async def _list(self, request: Request) -> Response:
        given = dict(request.query_params)
        unknown = set(given) - {"endpoint", "state", "expires_before_us", "limit", "cursor"}
        states: tuple[CertificateState, ...] = get_args(CertificateState)
        state = next((state for state in states if state == given.get("state")), None)
        limit, before = given.get("limit", "100"), given.get("expires_before_us")
        cursor = given.get("cursor", "")
        wrong = (
            (bool(unknown), f"unknown: {', '.join(sorted(unknown))[:80]}"),
            ("state" in given and state is None, f"state: must be one of {', '.join(states)}"),
            (
                not _NUMBER.fullmatch(limit) or not 0 < int(limit) <= LIMIT_MAX,
                f"limit: must be 1 to {LIMIT_MAX}",
            ),
            (
                before is not None and not _NUMBER.fullmatch(before),
                "expires_before_us: must be Unix microseconds",
            ),
            (cursor != "" and not _DIGEST.fullmatch(cursor), "cursor: is none of ours"),
        )
        for is_wrong, reason in wrong:
            if is_wrong:
                return problem(400, "wrong query", reason)
        found = await self._register.certificates(
            CertificateQuery(
                thing=given.get("endpoint"),
                state=state,
                expires_before_us=None if before is None else int(before),
                after=cursor,
                limit=int(limit) + 1,
            )
        )
        page = found[: int(limit)]
        behind = page[-1].sha256 if len(found) > len(page) else None
        return json_response(
            CertificatePage(certificates=[_status(one) for one in page], next_cursor=behind)
        )

    async def _revoke(self, request: Request) -> Response:
        try:
            wanted = await _read(request, Revocation)
            found = await self._lifecycle.revoke(request.path_params["sha256"], wanted.reason)
        except _WrongBody as error:
            return problem(400, "wrong request", str(error))
        except NoSuchCertificate:
            return problem(404, "no such certificate", "its name is its SHA-256, hexadecimal")
        except ImpossibleCertificateEvent as error:
            return problem(409, "it cannot be revoked", str(error))
        return json_response(_status(found))

    async def _revoked(self, request: Request) -> Response:
        return json_response(self._revocations.now)

    async def _rotate(self, request: Request) -> Response:
        try:
            wanted = await _read(request, RotationRequest)
        except _WrongBody as error:
            return problem(400, "wrong request", str(error))
        if wanted.group is not None:
            names = await self._stores.things.members(wanted.group)
        else:
            names = await self._stores.things.names("", COUNTED_MAX)
        if not names:
            return problem(404, "nobody is in this group", "GET /v1/groups tells which there are")
        await self._lifecycle.rotate(names)
        return await self._rotations(request, 202)

    async def _rotations(self, request: Request, status: int = 200) -> Response:
        waiting = await self._register.rotations(COUNTED_MAX)
        return json_response(RotationState(waiting=len(waiting)), status)

    async def _step(self, request: Request) -> Response:
        try:
            wanted = await _read(request, RolloverRequest)
        except _WrongBody as error:
            return problem(400, "wrong request", str(error))
        if wanted.step == "finish":
            left = await self._lifecycle.devices_of_previous()
            if left:
                return problem(
                    409,
                    "the authority before is still needed",
                    f"{left} devices have a certificate of it: GET /v1/rotations tells how many "
                    "wait; whose certificate was revoked must be given another, or be removed",
                )
        try:
            self._authorities.step(wanted.step, self._wall_us())
        except ImpossibleStep as error:
            return problem(409, "not now", str(error))
        self._reissue()
        await self._lifecycle.publish()
        await self._lifecycle.rotate([])
        return await self._authority(request)

    async def _authority(self, request: Request) -> Response:
        return json_response(
            AuthorityStatus(
                state=self._authorities.state,
                anchors=self._anchors(),
                devices_of_previous=await self._lifecycle.devices_of_previous(),
            )
        )

    async def _groups(self, request: Request) -> Response:
        return json_response(ThingGroups(await self._stores.things.groups()))

    async def _members(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        members = await self._stores.things.members(name)
        if not members:
            return problem(404, "no such group", f"{name[:128]!r} has no member")
        return json_response(GroupMembers(members))

    async def _policy(self, request: Request) -> Response:
        policy = await self._stores.things.policy(request.path_params["name"])
        return json_response(policy) if policy else problem(404, "no such policy")

    def _anchors(self) -> list[str]:
        return [pem("CERTIFICATE", anchor).decode() for anchor in self._authorities.anchors]


def caller_of(request: Request) -> str:
    """Who asks, as the gate before the routes says; an installation without one has one caller."""
    caller = request.scope.get("caller")
    return str(getattr(caller, "name", "")) or "token"


async def _read(request: Request, kind: type[_B]) -> _B:
    try:
        return msgspec.json.decode(await read_body(request, BODY_BYTES_MAX) or b"{}", type=kind)
    except (BodyTooLarge, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _WrongBody(str(error)) from None


def _status(found: CertificateRecord) -> CertificateStatus:
    certificate = x509.load_der_x509_certificate(found.der)
    since_us = found.since_us
    if not since_us and found.state == "active":
        # Nothing has become of it since it was issued, which it says itself.
        since_us = issued_at_us(certificate)
    return CertificateStatus(
        sha256=found.sha256,
        endpoint=found.thing,
        state=found.state,
        expires_at_us=found.expires_at_us,
        serial_number=f"{certificate.serial_number:x}",
        since_us=since_us,
        reason=found.reason,
    )


def _no_device(endpoint: str) -> Response:
    return problem(404, "no such device", f"{endpoint[:128]!r} is not provisioned")
