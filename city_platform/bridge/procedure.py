"""Writing one device's credentials: which commands, in which order, and what follows an outcome.

Ids are the same after a restart of the bridge (within a window of time), so that a step which the
server has an outcome for is answered from its store and never done twice.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
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
)

BROKER_OBJECT = 18830
PUBLICATION_OBJECT = 18831
_BROKER, _SECRET_KEY = "/18830/0", "/18830/0/9"
_PUBLICATIONS = f"/{PUBLICATION_OBJECT}"
_ACTIVE = 5
ISSUED_BY = "credentials"
ID_PREFIX = "credentials:"

# A stored outcome costs no try, because nothing was sent; this only bounds a server gone mad.
STORED_OUTCOMES_MAX = 1_000


class Manner(Enum):
    """How a step is done at the device."""

    CREATE = "create"
    CREATE_ALL = "create_all"
    REPLACE = "replace"
    ACTIVATE = "activate"
    ACTIVATE_ALL = "activate_all"
    DELETE = "delete"

    # Looked up in tables for every outcome: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class Verdict(Enum):
    """What an outcome says of a step. `UNKNOWN`: it may or may not have happened. `UNREADABLE`:
    it was done, and what was answered is not what the standard asks. `INVALID`: the server makes
    no request of it."""

    DONE = "done"
    UNREADABLE = "unreadable"
    ABSENT = "absent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    ENDED = "ended"

    # Looked up in tables for every outcome: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class Follows(Enum):
    """What follows an outcome when it is not another try of the same step."""

    NEXT_STEP = "next_step"
    ONE_BY_ONE = "one_by_one"
    GIVE_UP = "give_up"


AFTER: dict[Manner, dict[Verdict, Manner | Follows]] = {
    Manner.CREATE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.UNREADABLE: Follows.NEXT_STEP,
        # Refused: the instance exists. Unknown: it may, and a Create is never sent twice.
        Verdict.ABSENT: Manner.REPLACE,
        Verdict.REFUSED: Manner.REPLACE,
        Verdict.UNKNOWN: Manner.REPLACE,
        Verdict.INVALID: Follows.GIVE_UP,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.CREATE_ALL: {
        Verdict.DONE: Follows.NEXT_STEP,
        # Who made one of them, takes only one at a time, or did not answer, is given each alone.
        Verdict.UNREADABLE: Follows.ONE_BY_ONE,
        Verdict.ABSENT: Follows.ONE_BY_ONE,
        Verdict.REFUSED: Follows.ONE_BY_ONE,
        Verdict.UNKNOWN: Follows.ONE_BY_ONE,
        Verdict.INVALID: Follows.ONE_BY_ONE,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.REPLACE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.UNREADABLE: Follows.NEXT_STEP,
        Verdict.ABSENT: Manner.CREATE,
        Verdict.REFUSED: Manner.CREATE,
        Verdict.UNKNOWN: Manner.REPLACE,
        Verdict.INVALID: Follows.GIVE_UP,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.ACTIVATE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.UNREADABLE: Follows.NEXT_STEP,
        Verdict.ABSENT: Follows.GIVE_UP,
        Verdict.REFUSED: Follows.GIVE_UP,
        Verdict.UNKNOWN: Manner.ACTIVATE,
        Verdict.INVALID: Follows.GIVE_UP,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.ACTIVATE_ALL: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.UNREADABLE: Follows.NEXT_STEP,
        # Write-Composite is optional: who refuses it, or does not answer it, is written to plainly.
        Verdict.ABSENT: Follows.ONE_BY_ONE,
        Verdict.REFUSED: Follows.ONE_BY_ONE,
        Verdict.UNKNOWN: Follows.ONE_BY_ONE,
        Verdict.INVALID: Follows.GIVE_UP,
        Verdict.ENDED: Follows.GIVE_UP,
    },
    Manner.DELETE: {
        Verdict.DONE: Follows.NEXT_STEP,
        Verdict.UNREADABLE: Follows.NEXT_STEP,
        Verdict.ABSENT: Follows.NEXT_STEP,
        Verdict.REFUSED: Follows.GIVE_UP,
        Verdict.UNKNOWN: Manner.DELETE,
        Verdict.INVALID: Follows.GIVE_UP,
        Verdict.ENDED: Follows.GIVE_UP,
    },
}

OPERATIONS: dict[Manner, Operation] = {
    Manner.CREATE: "create",
    Manner.CREATE_ALL: "create",
    Manner.REPLACE: "write",
    Manner.ACTIVATE: "write",
    Manner.ACTIVATE_ALL: "write_composite",
    Manner.DELETE: "delete",
}

# `value` of an Enum is computed in Python.
_MANNER_NAMES: dict[Manner, str] = {manner: manner.value for manner in Manner}

_VERDICT_OF_STAGE: dict[Stage, Verdict] = {
    "timeout": Verdict.UNKNOWN,
    "unknown": Verdict.UNKNOWN,
    "coap": Verdict.REFUSED,
    "invalid": Verdict.INVALID,
    "not_registered": Verdict.ENDED,
    # Expired and cancelled commands were not sent; the handler drives the whole again.
    "expired": Verdict.ENDED,
    "cancelled": Verdict.ENDED,
}


class Step(NamedTuple):
    """One thing to reach at the device, and how to try it first. `values` may be secret.

    `path` is empty when the values are of several instances, and the object when those are created.
    """

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

    @property
    def leaves_key(self) -> bool:
        """Whether this step writes a broker and not its secret key: that must stay as it is."""
        return self.path == _BROKER and all(one.path != _SECRET_KEY for one in self.values)


class Progress(Enum):
    """Where a procedure stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    GIVEN_UP = "given_up"

    # Looked up in tables for every outcome: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


def verdict_on(outcome: Outcome) -> Verdict:
    """What an outcome says of the step that asked for it."""
    if outcome.code is not None and outcome.code.startswith("2."):
        return Verdict.DONE if outcome.error is None else Verdict.UNREADABLE
    if outcome.code == "4.04":
        return Verdict.ABSENT
    if outcome.code is not None:
        return Verdict.REFUSED
    return _VERDICT_OF_STAGE[outcome.error.stage] if outcome.error else Verdict.UNKNOWN


def steps_for(document: CredentialsDocument, held: Held) -> list[Step]:
    """All steps, in order: broker, publications, stale ones deleted, then publications made active.

    A new publication is not active until the end: the device connects at the last step. A device
    that has none gets all of them at the last step, active at once, where it may take that. One
    that is there stays as active as it is, so that a drive that a kill ends midway leaves the
    device reporting, also when it was one too many and is never begun again.
    """
    brokers = held.instances_of(BROKER_OBJECT)
    existing = held.instances_of(PUBLICATION_OBJECT)
    wanted = sorted(document.publications, key=lambda publication: publication.instance)
    broker = Step(_BROKER, _put(0 in brokers), broker_values(document.broker))
    if wanted and not existing and (held.may_take_composites or len(wanted) == 1):
        values = [value for one in wanted for value in publication_values(one, is_active=True)]
        path = _PUBLICATIONS if len(wanted) > 1 else _instance(wanted[0].instance)
        return [broker, Step(path, Manner.CREATE_ALL, tuple(values))]
    stale = sorted(existing - {publication.instance for publication in wanted})
    return [
        broker,
        *(
            Step(_instance(one.instance), _put(one.instance in existing), publication_values(one))
            for one in wanted
        ),
        *(Step(_instance(number), Manner.DELETE) for number in stale),
        *_activations([one.instance for one in wanted], held.may_take_composites),
    ]


def broker_values(broker: BrokerCredentials) -> tuple[Value, ...]:
    """The resources of `/18830/0`; without the secret key of a device that has it to itself."""
    uri, shared, ca_certificate, usage = _shared_broker_values(
        broker.uri, broker.clean_session, broker.keep_alive_s, broker.security_mode,
        broker.ca_certificate, broker.certificate_usage,
    )  # fmt: skip
    own = (
        Value("/18830/0/7", "opaque", _base64(broker.certificate)),
        ca_certificate,
        *([Value(_SECRET_KEY, "opaque", _base64(broker.secret_key))] if broker.secret_key else ()),
        usage,
    )
    return (uri, Value("/18830/0/1", "string", broker.client_id), *shared, *own)


def publication_values(publication: Publication, *, is_active: bool = False) -> tuple[Value, ...]:
    """The resources of one `/18831/n`, not active yet unless it `is_active` at once."""
    before, topic, after = _shared_publication_values(
        publication.instance, publication.source, publication.qos, publication.retain,
        publication.encoding, is_active,
    )  # fmt: skip
    return (*before, Value(topic, "string", publication.topic), *after)


# What devices of an installation, and of a model, have in common is made once. Nothing of it is
# secret.
@lru_cache(maxsize=64)
def _shared_broker_values(
    uri: str, clean_session: bool, keep_alive_s: int, security_mode: int, ca_certificate: bytes,
    usage: int,
) -> tuple[Value, tuple[Value, ...], Value, Value]:  # fmt: skip
    """The URI, what follows the client id, the CA's certificate, and how that is to be used."""
    return (
        Value("/18830/0/0", "string", uri),
        (
            Value("/18830/0/2", "boolean", clean_session),
            Value("/18830/0/3", "unsigned", keep_alive_s),
            Value("/18830/0/6", "integer", security_mode),
        ),
        Value("/18830/0/8", "opaque", _base64(ca_certificate)),
        Value("/18830/0/10", "integer", usage),
    )


@lru_cache(maxsize=256)
def _shared_publication_values(
    instance: int, source: str, qos: int, retain: bool, encoding: int, is_active: bool
) -> tuple[tuple[Value, ...], str, tuple[Value, ...]]:
    """What is before the topic, the topic's path, and what is behind it."""
    first = _instance(instance)
    return (
        (
            Value(f"{first}/0", "corelnk", source),
            Value(f"{first}/1", "objlnk", f"{BROKER_OBJECT}:0"),
        ),
        f"{first}/2",
        (
            Value(f"{first}/3", "unsigned", qos),
            Value(f"{first}/4", "boolean", retain),
            Value(f"{first}/{_ACTIVE}", "boolean", is_active),
            Value(f"{first}/6", "unsigned", encoding),
        ),
    )


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
        values = list(step.values)
        is_replaced = self._manner is Manner.REPLACE
        active_path = step.active_path if is_replaced else None
        keeps_active = active_path is not None
        # A Write that replaces would take away what is not in it (LwM2M 1.1 core §6.3.3).
        keeps_others = keeps_active or (is_replaced and step.leaves_key)
        if keeps_active:
            values = [one for one in values if one.path != active_path]
        return Command(
            id=self.pending_id,
            endpoint=self.endpoint,
            operation=OPERATIONS[self._manner],
            expires_at_us=expires_at_us,
            path=step.path or None,
            values=values or None,
            mode="update" if keeps_others else "replace",
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
        elif follows is Follows.ONE_BY_ONE:
            step = self._steps.pop(self._position)
            self._steps[self._position : self._position] = _ONE_BY_ONE[self._manner](step.values)
            self._begin_step()
        elif isinstance(follows, Manner):
            self._try_again(follows, is_stored)
        else:
            self.progress = Progress.GIVEN_UP
        return self.progress

    def _begin_next_step(self) -> None:
        self._position += 1
        if self._position == len(self._steps):
            self.progress = Progress.COMPLETED
        else:
            self._begin_step()

    def _begin_step(self) -> None:
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
        parts = (self._chain, step.path, _MANNER_NAMES[self._manner], str(self._number))
        self._chain = blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
        return ID_PREFIX + self._chain


def _put(exists: bool) -> Manner:
    return Manner.REPLACE if exists else Manner.CREATE


def _activations(instances: list[int], may_be_composite: bool) -> list[Step]:
    """All publications made active: in one exchange where the device may take that."""
    values = [Value(f"{_instance(number)}/{_ACTIVE}", "boolean", True) for number in instances]
    if may_be_composite and len(values) > 1:
        return [Step("", Manner.ACTIVATE_ALL, tuple(values))]
    return _activations_one_by_one(values)


def _activations_one_by_one(values: Iterable[Value]) -> list[Step]:
    return [Step(one.path, Manner.ACTIVATE, (one,)) for one in values]


def _creations_one_by_one(values: Iterable[Value]) -> list[Step]:
    """The publications that these values make, each created alone and not active, and then all made
    active."""
    of_each: dict[str, list[Value]] = {}
    for value in values:
        instance, _, resource = value.path.rpartition("/")
        is_active = resource == str(_ACTIVE)
        own = Value(value.path, value.type, False) if is_active else value
        of_each.setdefault(instance, []).append(own)
    numbers = [int(instance.rpartition("/")[2]) for instance in of_each]
    return [
        *(Step(instance, Manner.CREATE, tuple(own)) for instance, own in of_each.items()),
        *_activations(numbers, may_be_composite=True),
    ]


_ONE_BY_ONE: dict[Manner, Callable[[Iterable[Value]], list[Step]]] = {
    Manner.CREATE_ALL: _creations_one_by_one,
    Manner.ACTIVATE_ALL: _activations_one_by_one,
}


@lru_cache(maxsize=256)
def _instance(number: int) -> str:
    return f"/{PUBLICATION_OBJECT}/{number}"


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
