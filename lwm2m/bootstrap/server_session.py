"""One client's bootstrap as its server sees it: which request comes next, and how it ended."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from lwm2m.bootstrap.server_plan import (
    SUCCESS,
    BootstrapPlan,
    Discovered,
    Operation,
    Step,
    first_steps,
    read_discovery,
    remaining_steps,
)
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats, link_format
from lwm2m.errors import IllegalTransition, LwM2mError, MalformedLinkFormat
from lwm2m.objects import Models, ObjectPath


class SessionState(enum.StrEnum):
    """Where a bootstrap server stands with one client."""

    REQUESTED = "requested"
    CONFIGURING = "configuring"
    FINISHING = "finishing"
    FINISHED = "finished"
    FAILED = "failed"


class SessionEvent(enum.StrEnum):
    """What can happen to a session. An answer is always to the latest request."""

    STARTED = "started"
    STEP_ACCEPTED = "step_accepted"
    STEP_REFUSED = "step_refused"
    FINISH_SENT = "finish_sent"
    UNANSWERED = "unanswered"
    REPLACED = "replaced"


_S, _E = SessionState, SessionEvent

SESSION_TRANSITIONS: Final[Mapping[SessionState, Mapping[SessionEvent, SessionState | None]]] = {
    _S.REQUESTED: {
        _E.STARTED: _S.CONFIGURING,
        _E.STEP_ACCEPTED: None,
        _E.STEP_REFUSED: None,
        _E.FINISH_SENT: None,
        _E.UNANSWERED: None,
        _E.REPLACED: _S.FAILED,
    },
    _S.CONFIGURING: {
        _E.STARTED: None,
        _E.STEP_ACCEPTED: _S.CONFIGURING,
        _E.STEP_REFUSED: _S.FAILED,
        _E.FINISH_SENT: _S.FINISHING,
        _E.UNANSWERED: _S.FAILED,
        # The client asked again: it has begun anew, and so must we.
        _E.REPLACED: _S.FAILED,
    },
    _S.FINISHING: {
        _E.STARTED: None,
        _E.STEP_ACCEPTED: _S.FINISHED,
        # 4.06: the client finds its configuration inconsistent (§6.1.7.6).
        _E.STEP_REFUSED: _S.FAILED,
        _E.FINISH_SENT: None,
        _E.UNANSWERED: _S.FAILED,
        _E.REPLACED: _S.FAILED,
    },
    _S.FINISHED: dict.fromkeys(_E),
    _S.FAILED: dict.fromkeys(_E),
}


class StepResult(msgspec.Struct, frozen=True):
    """What became of one request: the CoAP code, None when no answer came.

    `detail` is for people; it never repeats what was written.
    """

    operation: Operation
    path: str
    code: str | None
    detail: str = ""


class BootstrapSession:
    """Feed it answers, send the request that it gives; None means that it has ended."""

    def __init__(
        self, plan: BootstrapPlan, models: Models, preferred_format: int | None = None
    ) -> None:
        self._plan = plan
        self._models = models
        self._preferred_format = preferred_format
        self._steps: deque[Step] = deque(first_steps(plan))
        self._is_laid_out = False
        self._current: Step | None = None
        self.state = SessionState.REQUESTED
        self.results: list[StepResult] = []
        self.discovered: Discovered | None = None
        # Payloads of the reads by path, with their content format.
        self.contents: list[tuple[ObjectPath, int | None, bytes]] = []

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is sent or awaited."""
        return self.state in (SessionState.FINISHED, SessionState.FAILED)

    def start(self) -> Request | None:
        """The first request, after the client's was answered. Raises `IllegalTransition`."""
        self._move(SessionEvent.STARTED)
        return self._next()

    def answered(self, response: Response) -> Request | None:
        """The client answered the latest request. Raises `IllegalTransition` without one."""
        step = self._taken_step(SessionEvent.STEP_ACCEPTED)
        problem = self._take(step, response)
        code = codes.code_text(response.code)
        self.results.append(StepResult(step.operation, _text(step.path), code, problem))
        if problem and not step.may_be_refused:
            self._move(SessionEvent.STEP_REFUSED)
            return None
        self._move(SessionEvent.STEP_ACCEPTED)
        return None if self.has_ended else self._next()

    def unanswered(self, reason: str) -> None:
        """The latest request got no answer. Raises `IllegalTransition` without one."""
        step = self._taken_step(SessionEvent.UNANSWERED)
        self.results.append(StepResult(step.operation, _text(step.path), None, reason))
        self._move(SessionEvent.UNANSWERED)

    def replaced(self) -> None:
        """The client asked for a bootstrap anew. Nothing happens to one that has ended."""
        if not self.has_ended:
            self._current = None
            self._move(SessionEvent.REPLACED)

    # ---- inside ----

    def _next(self) -> Request | None:
        if not self._steps and not self._is_laid_out and not self._lay_out():
            return None
        step = self._current = self._steps.popleft()
        if step.operation == "finish":
            self._move(SessionEvent.FINISH_SENT)
        return step.request

    def _lay_out(self) -> bool:
        self._is_laid_out = True
        try:
            self._steps.extend(
                remaining_steps(self._plan, self.discovered, self._preferred_format, self._models)
            )
        except LwM2mError as error:
            # The plan is at fault, and its values stay out of the text.
            detail = f"the plan cannot be written: {type(error).__name__}"
            self.results.append(StepResult("write", "/", None, detail))
            self._move(SessionEvent.STEP_REFUSED)
            return False
        return True

    def _take(self, step: Step, response: Response) -> str:
        """What is wrong with an answer, or nothing."""
        if response.code != SUCCESS[step.operation]:
            return "refused"
        if step.operation == "read":
            assert step.path is not None
            self.contents.append((step.path, response.content_format, response.payload))
        if step.operation == "discover":
            if response.content_format not in (None, content_formats.LINK_FORMAT):
                return f"content format {response.content_format} is no link format"
            try:
                self.discovered = read_discovery(link_format.decode(response.payload))
            except MalformedLinkFormat as error:
                return f"the answer cannot be read: {error}"
        return ""

    def _taken_step(self, event: SessionEvent) -> Step:
        step, self._current = self._current, None
        if step is None:
            raise IllegalTransition(self.state, event)
        return step

    def _move(self, event: SessionEvent) -> None:
        target = SESSION_TRANSITIONS[self.state][event]
        if target is None:
            raise IllegalTransition(self.state, event)
        self.state = target


def _text(path: ObjectPath | None) -> str:
    return "/" if path is None else str(path)
