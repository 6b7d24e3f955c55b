"""Dead letters over HTTP: their list, one with its bytes, putting back, dropping."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.endpoint_topics import EndpointTopic
from city_platform.ingestion.answers import answering
from city_platform.ingestion.bodies import (
    LetterPage,
    LetterShown,
    ReplayedLetters,
    ReplayRequest,
    WholeLetter,
)
from city_platform.ingestion.queries import Query, WrongQuery, name_of_caller
from city_platform.ingestion.replays import REPLAYED_MAX, Replays
from city_platform.stores.dead_letters import (
    REASONS,
    STATES,
    DeadLetter,
    DeadLetterDesk,
    FoundLetter,
    LetterQuery,
)
from contracts.topics import Topics
from runtime.http import json_response, problem, read_body

LIMIT_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 16_384
_KNOWN: Final = (
    "reason", "endpoint", "topic", "state", "from_us", "to_us", "limit", "cursor",
)  # fmt: skip
# What a private key, sealed credentials and a token begin with. A key in DER is told by the
# algorithms that name it: id-ecPublicKey with prime256v1, rsaEncryption (PKCS #8, SEC 1).
_SECRET: Final = re.compile(
    rb"PRIVATE KEY|eyJ[A-Za-z0-9_-]{10,}\.|\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
    rb"|\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07|\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
    rb"|[Bb]earer |[Pp]assword"
)


class DeadLetterRoutes:
    """The routes and what they need. Letters are of no tenant: who may see any sees all."""

    def __init__(self, letters: DeadLetterDesk, replays: Replays, topics: Topics) -> None:
        self._letters = letters
        self._replays = replays
        self._topics = topics

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/dead-letters", self._list),
            Route("/v1/dead-letters/replay", self._replay_some, methods=["POST"]),
            Route("/v1/dead-letters/{id}", self._show, methods=["GET"]),
            Route("/v1/dead-letters/{id}", self._drop, methods=["DELETE"]),
            Route("/v1/dead-letters/{id}/replay", self._replay, methods=["POST"]),
        ]

    @answering
    async def _list(self, request: Request) -> Response:
        query = Query(request, _KNOWN)
        limit = query.number("limit", 100, 1, LIMIT_MAX)
        found = await self._letters.find(
            LetterQuery(
                reason=query.choice("reason", REASONS),
                endpoint=query.text("endpoint"),
                topic=query.text("topic"),
                state=query.choice("state", STATES),
                from_us=query.optional_number("from_us"),
                to_us=query.optional_number("to_us"),
                after=query.number("cursor", -1, -1, 2**63 - 1),
                limit=limit + 1,
            )
        )
        shown = [self._shown(one) for one in found[:limit]]
        following = shown[-1].id if len(found) > limit else None
        return json_response(LetterPage(dead_letters=shown, next_cursor=following))

    @answering
    async def _show(self, request: Request) -> Response:
        position = _position(request)
        letter = None if position is None else await self._letters.get(position)
        found = None if letter is None else await self._letters.describe(letter.position)
        if letter is None or found is None:
            return _none()
        secret = withheld(letter, self._topics)
        whole = WholeLetter(
            dead_letter=self._shown(found),
            payload=None if secret else b64encode(letter.payload).decode(),
            sha256=hashlib.sha256(letter.payload).hexdigest(),
            redacted=secret,
        )
        return json_response(whole)

    @answering
    async def _replay(self, request: Request) -> Response:
        position = _position(request)
        who = name_of_caller(request)
        found = None if position is None else await self._replays.replay(position, who)
        return _none() if found is None else json_response(self._shown(found), 202)

    @answering
    async def _replay_some(self, request: Request) -> Response:
        asked = _asked(await read_body(request, BODY_BYTES_MAX))
        query = LetterQuery(
            reason=asked.reason, endpoint=asked.endpoint, topic=asked.topic,
            from_us=asked.from_us, to_us=asked.to_us, limit=asked.limit,
        )  # fmt: skip
        done = await self._replays.replay_some(query, name_of_caller(request))
        return json_response(ReplayedLetters(replayed=done.replayed, has_more=done.has_more), 202)

    @answering
    async def _drop(self, request: Request) -> Response:
        position = _position(request)
        is_dropped = position is not None and await self._letters.drop(position)
        return Response(status_code=204) if is_dropped else _none()

    def _shown(self, letter: FoundLetter) -> LetterShown:
        replay = letter.replay
        return LetterShown(
            id=str(letter.position), reason=letter.reason, topic=letter.topic,
            detail=letter.detail, endpoint=letter.endpoint, claimed=letter.claimed,
            received_us=letter.received_us, payload_bytes=letter.payload_bytes,
            outcome=self._replays.outcome(letter),
            replayed_us=None if replay is None else replay.at_us,
            replayed_by=None if replay is None else replay.who,
            replayed_as=None if replay is None else str(replay.replayed_as),
        )  # fmt: skip


def withheld(letter: DeadLetter, topics: Topics) -> str | None:
    """Why the bytes of a letter are not shown; None when they may be.

    A device's streams hold no secrets; somebody who published keys there, or another topic to which
    a rule of the installation listens, must not make them readable for analysts.
    """
    streams = (topics.state, topics.alarm, topics.presence)
    if letter.reason != "illegal_topic" and not any(
        EndpointTopic(one).read(letter.topic) for one in streams
    ):
        return "it came on a topic that is not one of a device's streams"
    if letter.topic.endswith("/credentials"):
        return "it came on a topic of credentials"
    if _SECRET.search(letter.payload):
        return "it looks as if it held a key, a token or a password"
    return None


def _position(request: Request) -> int | None:
    text = request.path_params["id"]
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _asked(body: bytes) -> ReplayRequest:
    """The filter in a request's body. Raises `WrongQuery`."""
    try:
        asked = msgspec.json.decode(body, type=ReplayRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongQuery(f"the body is a JSON object of filters, at least {{}}: {error}") from None
    if not 1 <= asked.limit <= REPLAYED_MAX:
        raise WrongQuery(f"limit is 1 to {REPLAYED_MAX}")
    for name in ("from_us", "to_us"):
        if abs(getattr(asked, name) or 0) > 2**63 - 1:
            raise WrongQuery(f"{name} is a time in microseconds")
    return asked


def _none() -> Response:
    return problem(404, "no such dead letter", "GET /v1/dead-letters lists those that are kept")
