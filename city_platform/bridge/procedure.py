"""Writing one device's credentials: which commands, in which order, and what follows an outcome.

Ids are the same after a restart of the bridge (within a window of time), so that a step which the
server has an outcome for is answered from its store and never done twice.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from typing import NamedTuple

from city_platform.bridge.registry import Held
from contracts.credentials import BrokerCredentials, CredentialsDocument, Publication
from contracts.data_interface import (
    Command,
    Completes,
    Holder,
    Operation,
    Outcome,
    Stage,
    Value,
    ValueType,
)

BROKER_OBJECT = 18830
PUBLICATION_OBJECT = 18831
_ACTIVE = 5
ISSUED_BY = "credentials"
ID_PREFIX = "credentials:"

# A stored outcome costs no try, because nothing was sent; this only bounds a server gone mad.
STORED_OUTCOMES_MAX = 1_000


class Manner(Enum):
    """How a step is done at the device."""

    CREATE = "create"
    REPLACE = "replace"
    ACTIVATE = "activate"
    DELETE = "delete"


class Verdict(Enum):
    """What an outcome says of a step. `UNKNOWN`: it may or may not have happened."""

    DONE = "done"
    ABSENT = "absent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    ENDED = "ended"


class Follows(Enum):
    """What follows an outcome when it is not another try of the same step."""

    NEXT_STEP = "next_step"
    GIVE_UP = "give_up"


AFTER: dict[Manner, dict[Verdict, Manner | Follows]] = {
    Manner.CREATE: {
        Verdict.DONE: Follows.NEXT_STEP,
        # Refused: the instance exists. Unknown: it may, and a Create is never sent twice.
        Verdict.ABSENT: Manner.REPLACE,
        Verdict.REFUSED: Manner.REPLACE,
        Verdict.UNKNOWN: Manner.REPLACE,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.REPLACE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.ABSENT: Manner.CREATE,
        Verdict.REFUSED: Manner.CREATE,
        Verdict.UNKNOWN: Manner.REPLACE,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.ACTIVATE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.ABSENT: Follows.GIVE_UP,
        Verdict.REFUSED: Follows.GIVE_UP,
        Verdict.UNKNOWN: Manner.ACTIVATE,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.DELETE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.ABSENT: Follows.NEXT_STEP,
        Verdict.REFUSED: Follows.GIVE_UP,
        Verdict.UNKNOWN: Manner.DELETE,
        Verdict.ENDED: Follows.GIVE_UP,
    },
}

OPERATIONS: dict[Manner, Operation] = {
    Manner.CREATE: "create",
    Manner.REPLACE: "write",
    Manner.ACTIVATE: "write",
    Manner.DELETE: "delete",
}

_VERDICT_OF_STAGE: dict[Stage, Verdict] = {
    "timeout": Verdict.UNKNOWN,
    "unknown": Verdict.UNKNOWN,
    "coap": Verdict.REFUSED,
    "invalid": Verdict.ENDED,
    "not_registered": Verdict.ENDED,
    # Expired and cancelled commands were not sent; the handler drives the whole again.
    "expired": Verdict.ENDED,
    "cancelled": Verdict.ENDED,
}


class Step(NamedTuple):
    """One thing to reach at the device, and how to try it first. `values` may be secret."""

    path: str
    first_manner: Manner
    values: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        return f"Step({self.path!r}, {self.first_manner.name}, {len(self.values)} values)"

    @property
    def active_path(self) -> str | None:
        """*Active* of the publication that this step writes whole; None for other steps."""
        path = f"{self.path}/{_ACTIVE}"
        return path if any(one.path == path for one in self.values) else None


class Progress(Enum):
    """Where a procedure stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    GIVEN_UP = "given_up"


def verdict_on(outcome: Outcome) -> Verdict:
    """What an outcome says of the step that asked for it."""
    if outcome.code is not None and outcome.code.startswith("2."):
        return Verdict.DONE
    if outcome.code == "4.04":
        return Verdict.ABSENT
    if outcome.code is not None:
        return Verdict.REFUSED
    return _VERDICT_OF_STAGE[outcome.error.stage] if outcome.error else Verdict.UNKNOWN


def steps_for(document: CredentialsDocument, held: Held) -> list[Step]:
    """All steps, in order: broker, publications, stale ones deleted, then publications made active.

    A new publication is not active until the end: the device connects at the last step. One that
    is there stays as active as it is, so that a drive that a kill ends midway leaves the device
    reporting, also when it was one too many and is never begun again.
    """
    brokers = held.instances_of(BROKER_OBJECT)
    existing = held.instances_of(PUBLICATION_OBJECT)
    wanted = sorted(document.publications, key=lambda publication: publication.instance)
    stale = sorted(existing - {publication.instance for publication in wanted})
    return [
        Step("/18830/0", _put(0 in brokers), tuple(broker_values(document.broker))),
        *(
            Step(_instance(one.instance), _put(one.instance in existing), publication_values(one))
            for one in wanted
        ),
        *(Step(_instance(number), Manner.DELETE) for number in stale),
        *(_activation(one.instance) for one in wanted),
    ]


def broker_values(broker: BrokerCredentials) -> Iterator[Value]:
    """The resources of `/18830/0`."""
    rows: tuple[tuple[int, ValueType, str | int | bool], ...] = (
        (0, "string", broker.uri),
        (1, "string", broker.client_id),
        (2, "boolean", broker.clean_session),
        (3, "unsigned", broker.keep_alive_s),
        (6, "integer", broker.security_mode),
        (7, "opaque", _base64(broker.certificate)),
        (8, "opaque", _base64(broker.ca_certificate)),
        (9, "opaque", _base64(broker.secret_key)),
        (10, "integer", broker.certificate_usage),
    )
    return (Value(f"/18830/0/{number}", kind, value) for number, kind, value in rows)


def publication_values(publication: Publication) -> tuple[Value, ...]:
    """The resources of one `/18831/n`, not active yet."""
    rows: tuple[tuple[int, ValueType, str | int | bool], ...] = (
        (0, "corelnk", publication.source),
        (1, "objlnk", f"{BROKER_OBJECT}:0"),
        (2, "string", publication.topic),
        (3, "unsigned", publication.qos),
        (4, "boolean", publication.retain),
        (_ACTIVE, "boolean", False),
        (6, "unsigned", publication.encoding),
    )
    base = _instance(publication.instance)
    return tuple(Value(f"{base}/{number}", kind, value) for number, kind, value in rows)


class CredentialsProcedure:
    """One device's procedure; it asks for one command at a time.

    `window` numbers the spans of time in which the same step has the same id. A server keeps an
    outcome until its command expires: a span must not be longer than that, so that no id comes
    again after it was forgotten.
    """

    def __init__(
        self, server: str, registration_id: str, document: CredentialsDocument, held: Held,
        tries_max: int, window: int,
    ) -> None:  # fmt: skip
        self.endpoint = document.endpoint
        self.version = document.version
        self.registration_id = registration_id
        self.progress = Progress.RUNNING
        self._holder = Holder(server, registration_id)
        self._steps = steps_for(document, held)
        self._position = 0
        self._manner = self._steps[0].first_manner
        self._number = 1
        self._tries_left = self._tries_max = tries_max
        self._stored_left = STORED_OUTCOMES_MAX
        parts = (server, self.endpoint, registration_id, self.version, str(window))
        self._chain = "\0".join(parts)
        # The id of the command that the procedure waits for.
        self.pending_id = self._id()

    def __repr__(self) -> str:
        return f"CredentialsProcedure({self.endpoint!r}, step {self._position}, {self.progress})"

    def command(self, expires_at_us: int) -> Command:
        """The command that the procedure waits for. It may hold a secret key."""
        step = self._steps[self._position]
        is_last = self._position == len(self._steps) - 1
        keeps_active = self._manner is Manner.REPLACE and step.active_path is not None
        values = [one for one in step.values if not keeps_active or one.path != step.active_path]
        return Command(
            id=self.pending_id,
            endpoint=self.endpoint,
            operation=OPERATIONS[self._manner],
            expires_at_us=expires_at_us,
            path=step.path,
            values=values or None,
            mode="update" if keeps_active else "replace",
            holder=self._holder,
            completes=Completes("credentials", self.version) if is_last else None,
            issued_by=ISSUED_BY,
        )

    def handle_outcome(self, outcome: Outcome, *, is_stored: bool) -> Progress:
        """Go on after the outcome of the pending command, and say where this stands."""
        follows = AFTER[self._manner][verdict_on(outcome)]
        if follows is Follows.GIVE_UP and is_stored:
            # What an earlier drive was refused says nothing of now: ask anew, under a new id.
            follows = self._manner
        if follows is Follows.NEXT_STEP:
            self._begin_next_step()
        elif isinstance(follows, Manner):
            self._try_again(follows, is_stored)
        else:
            self.progress = Progress.GIVEN_UP
        return self.progress

    def _begin_next_step(self) -> None:
        self._position += 1
        if self._position == len(self._steps):
            self.progress = Progress.COMPLETED
            return
        self._manner = self._steps[self._position].first_manner
        self._number = 1
        self._tries_left = self._tries_max
        self.pending_id = self._id()

    def _try_again(self, manner: Manner, is_stored: bool) -> None:
        self._manner = manner
        self._number += 1
        if is_stored:
            self._stored_left -= 1
        else:
            self._tries_left -= 1
        self.pending_id = self._id()
        if self._tries_left <= 0 or self._stored_left <= 0:
            self.progress = Progress.GIVEN_UP

    def _id(self) -> str:
        """The next link of a chain: whoever came another way gets another id.

        Else a step that switches off could be done anew, because the device's links have changed
        since, and the step that switches on again be answered from the store.
        """
        step = self._steps[self._position]
        parts = (self._chain, step.path, self._manner.value, str(self._number))
        self._chain = sha256("\0".join(parts).encode()).hexdigest()[:32]
        return ID_PREFIX + self._chain


def _put(exists: bool) -> Manner:
    return Manner.REPLACE if exists else Manner.CREATE


def _activation(instance: int) -> Step:
    path = f"{_instance(instance)}/{_ACTIVE}"
    return Step(path, Manner.ACTIVATE, (Value(path, "boolean", True),))


def _instance(number: int) -> str:
    return f"/{PUBLICATION_OBJECT}/{number}"


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
