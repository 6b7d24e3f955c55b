"""What Register and Update say (LwM2M Core §6.2), read from and written to query and payload."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from lwm2m.coap import codes
from lwm2m.codecs import content_formats, link_format
from lwm2m.codecs.decoded_payloads import DecodedPayloads
from lwm2m.codecs.link_format import LinkFormatLimits
from lwm2m.errors import MalformedLinkFormat, RegistrationRefused
from lwm2m.registration.objects import RegisteredObjects, read_objects

ENDPOINT_NAME_PATTERN: Final = r"[A-Za-z0-9:_-]{1,128}"


class RegistrationPolicy(msgspec.Struct, frozen=True):
    """Where the standard leaves a choice, or is not kept to by clients in the field."""

    # Which endpoint names are taken. Default: what is also a topic level, file and thing name.
    endpoint_name_pattern: str = ENDPOINT_NAME_PATTERN
    # Seconds for a Register without `lt`; None refuses it. Default: Leshan's.
    lifetime_s_default: int | None = 86_400
    # Longest lifetime in seconds. Default: what 32 bits hold.
    lifetime_s_max: int = 2**32 - 1
    # Version for a Register without `lwm2m`; None refuses it.
    lwm2m_version_default: str | None = "1.0"
    # Versions that are served; others are answered 4.12.
    lwm2m_versions: tuple[str, ...] = ("1.0", "1.1", "1.2")
    # Whether `b=UQ` is taken from LwM2M 1.1 on, where Q is a parameter of its own.
    queue_mode_in_binding_is_allowed: bool = False
    # Whether a Register may list no object at all.
    empty_object_list_is_allowed: bool = False
    # Most query parameters, and their bytes together.
    parameters_max: int = 16
    # Bounds of the object list.
    object_list: LinkFormatLimits = LinkFormatLimits()


class RegisterRequest(msgspec.Struct, frozen=True, gc=False):
    """A Register. `lifetime_s` 0 is for ever; `parameters` are those that this code does not know.

    `binding` is without Q, which is `queue_mode`. `profile_ids` are LwM2M 1.2's `pid`.
    """

    endpoint_name: str
    lifetime_s: int
    lwm2m_version: str
    objects: RegisteredObjects
    binding: str = "U"
    queue_mode: bool = False
    sms_number: str | None = None
    profile_ids: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()


class UpdateRequest(msgspec.Struct, frozen=True, gc=False):
    """An Update: what is None stays as it was. `objects` replaces the whole list."""

    lifetime_s: int | None = None
    binding: str | None = None
    queue_mode: bool | None = None
    sms_number: str | None = None
    objects: RegisteredObjects | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    profile_ids: tuple[str, ...] | None = None


class _Said(NamedTuple):
    """What the query of a Register says beside the endpoint name."""

    lifetime_s: int
    lwm2m_version: str
    binding: str
    queue_mode: bool
    sms_number: str | None
    profile_ids: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]


class EncodedRequest(NamedTuple):
    """Query and payload of a Register or Update; an empty payload has no content format."""

    query: tuple[str, ...]
    payload: bytes


class RegistrationReader:
    """Reads Register and Update requests by one policy.

    Object lists go through a bounded cache, and so does what a Register says beside its endpoint
    name: a fleet has thousands of names and a handful of queries.
    """

    def __init__(
        self,
        policy: RegistrationPolicy | None = None,
        decode_objects: Callable[[bytes], RegisteredObjects] | None = None,
        knows_profile: Callable[[str], bool] | None = None,
    ) -> None:
        """`decode_objects` may bring another cache; it raises `MalformedLinkFormat`.

        `knows_profile` says whether a profile id can be resolved; None takes all as they are.
        """
        self._knows_profile = knows_profile
        self._policy = policy = policy or RegistrationPolicy()
        self._is_endpoint_name = re.compile(policy.endpoint_name_pattern, re.ASCII).fullmatch
        limits = policy.object_list
        self._decode_objects = (
            decode_objects or DecodedPayloads(lambda payload: read_objects(payload, limits)).get
        )
        # By the query without its endpoint name, of requests that were in order.
        self._said: dict[tuple[str, ...], _Said] = {}

    def read_register(
        self,
        query: tuple[str, ...],
        payload: bytes,
        content_format: int | None,
        proven_endpoint_name: str | None = None,
    ) -> RegisterRequest:
        """The Register that a POST to `/rd` makes.

        `proven_endpoint_name` is whose credentials protect the datagram; it fills in for `ep` and
        must not contradict it. Raises `RegistrationRefused`: 4.00, 4.09 (profile), 4.12 (version)
        or 4.13.
        """
        given, others = _without_endpoint_name(query)
        said = self._said.get(others) if given is not None else None
        if said is None:
            parameters = self._parameters(query)
            endpoint_name = self._endpoint_name(parameters.pop("ep", None), proven_endpoint_name)
            said = self._read_said(parameters)
            if given is not None:
                self._keep_said(others, said)
        else:
            endpoint_name = self._endpoint_name(given, proven_endpoint_name)
        if not payload and not (said.profile_ids or self._policy.empty_object_list_is_allowed):
            raise _bad("missing_object_list", "a Register lists the client's objects")
        return RegisterRequest(
            endpoint_name,
            said.lifetime_s,
            said.lwm2m_version,
            self._objects(payload, content_format),
            said.binding,
            said.queue_mode,
            said.sms_number,
            said.profile_ids,
            said.parameters,
        )

    def read_update(
        self,
        query: tuple[str, ...],
        payload: bytes,
        content_format: int | None,
        lwm2m_version: str,
    ) -> UpdateRequest:
        """The Update that a POST to a registration makes; the registration has the version.

        Raises `RegistrationRefused`: 4.00, 4.09 (profile) or 4.13.
        """
        if not query and not payload:
            return NO_CHANGE
        parameters = self._parameters(query)
        lifetime = parameters.pop("lt", None)
        binding, queue_mode = self._binding(parameters, lwm2m_version)
        return UpdateRequest(
            None if lifetime is None else self._lifetime_s(lifetime),
            binding,
            queue_mode,
            parameters.pop("sms", None),
            self._objects(payload, content_format) if payload else None,
            profile_ids=self._profile_ids(parameters),
            parameters=tuple(parameters.items()) if parameters else (),
        )

    def _read_said(self, parameters: dict[str, str]) -> _Said:
        version = self._version(parameters.pop("lwm2m", None))
        lifetime_s = self._lifetime_s(parameters.pop("lt", None))
        binding, queue_mode = self._binding(parameters, version)
        profiles = self._profile_ids(parameters) or ()
        sms_number = parameters.pop("sms", None)
        return _Said(
            lifetime_s,
            version,
            binding or "U",
            queue_mode or False,
            sms_number,
            profiles,
            tuple(parameters.items()) if parameters else (),
        )

    def _keep_said(self, others: tuple[str, ...], said: _Said) -> None:
        if said.profile_ids:
            return  # which profiles are known may change
        if len(self._said) >= _QUERIES_CACHED:
            self._said.clear()
        self._said[others] = said

    def _parameters(self, query: tuple[str, ...]) -> dict[str, str]:
        parameters: dict[str, str] = {}
        for argument in query:
            name, _, value = argument.partition("=")
            parameters[name] = value
        if len(parameters) != len(query):
            raise _bad("repeated_parameter", "a parameter comes twice")
        if len(query) > self._policy.parameters_max:
            raise _bad("too_many_parameters", f"more than {self._policy.parameters_max} parameters")
        return parameters

    def _endpoint_name(self, given: str | None, proven: str | None) -> str:
        name = proven if given is None else given
        if not name:
            # LwM2M Core §6.2.1: `ep` may be left out where the credentials name the client.
            raise _bad("missing_endpoint_name", "ep is missing, and no credentials name the client")
        if self._is_endpoint_name(name) is None:
            raise _bad("illegal_endpoint_name", f"{name[:40]!r} cannot be an endpoint name")
        if proven is not None and name != proven:
            raise _bad("foreign_endpoint_name", "ep is not the client that the credentials name")
        return name

    def _version(self, given: str | None) -> str:
        version = self._policy.lwm2m_version_default if given is None else given
        if version in self._policy.lwm2m_versions:
            return version
        if version is None:
            raise _bad("missing_version", "lwm2m is missing")
        if _VERSION.fullmatch(version) is None:
            raise _bad("illegal_version", f"{version[:20]!r} is no LwM2M version")
        raise RegistrationRefused(
            codes.PRECONDITION_FAILED,
            "unsupported_version",
            f"LwM2M {version} is not served, only {', '.join(self._policy.lwm2m_versions)}",
        )

    def _lifetime_s(self, given: str | None) -> int:
        if given is None:
            if self._policy.lifetime_s_default is None:
                raise _bad("missing_lifetime", "lt is missing")
            return self._policy.lifetime_s_default
        if not (given.isascii() and given.isdigit() and len(given) < 20):
            raise _bad("illegal_lifetime", f"lt={given[:20]!r} is no number of seconds")
        lifetime_s = int(given)
        if lifetime_s > self._policy.lifetime_s_max:
            raise _bad("illegal_lifetime", f"lt is over {self._policy.lifetime_s_max} s")
        return lifetime_s

    def _profile_ids(self, parameters: dict[str, str]) -> tuple[str, ...] | None:
        given = parameters.pop("pid", None)
        if given is None:
            return None
        found = tuple(given.split(",")) if given else ()
        if self._knows_profile is not None and not all(map(self._knows_profile, found)):
            raise RegistrationRefused(
                codes.CONFLICT, "unknown_profile", f"pid={given[:60]!r} is not known here"
            )
        return found

    def _binding(self, parameters: dict[str, str], version: str) -> tuple[str | None, bool | None]:
        queue_mode: bool | None = None
        if "Q" in parameters:
            if parameters.pop("Q"):
                raise _bad("illegal_queue_mode", "Q has no value")
            queue_mode = True
        binding = parameters.pop("b", None)
        if binding is None:
            return None, queue_mode
        if binding in _KNOWN_BINDINGS[version]:
            return binding.replace("Q", ""), queue_mode or "Q" in binding
        if self._policy.queue_mode_in_binding_is_allowed and binding.count("Q") == 1:
            parameters["b"] = binding.replace("Q", "")
            return self._binding(parameters, version)[0], True
        raise _bad("illegal_binding", f"b={binding[:20]!r} is no binding of LwM2M {version}")

    def _objects(self, payload: bytes, content_format: int | None) -> RegisteredObjects:
        # Some clients leave the content format out: nothing else could be meant.
        if payload and content_format not in (None, content_formats.LINK_FORMAT):
            raise _bad("content_format", f"an object list has format 40, not {content_format}")
        if len(payload) > self._policy.object_list.payload_bytes_max:
            raise RegistrationRefused(
                codes.REQUEST_ENTITY_TOO_LARGE,
                "object_list_too_large",
                f"more than {self._policy.object_list.payload_bytes_max} bytes",
            )
        try:
            return self._decode_objects(payload)
        except MalformedLinkFormat as error:
            raise _bad("malformed_object_list", str(error)) from None


def encode_register(request: RegisterRequest) -> EncodedRequest:
    """The query and payload that `read_register` reads back. Raises `InvalidValue` (a link)."""
    query = [
        f"ep={request.endpoint_name}",
        f"lt={request.lifetime_s}",
        f"lwm2m={request.lwm2m_version}",
        *_binding_arguments(request.binding, request.queue_mode, request.lwm2m_version),
    ]
    if request.sms_number is not None:
        query.append(f"sms={request.sms_number}")
    if request.profile_ids:
        query.append("pid=" + ",".join(request.profile_ids))
    query += [f"{name}={value}" for name, value in request.parameters]
    return EncodedRequest(tuple(query), link_format.encode(request.objects.links))


def encode_update(request: UpdateRequest, lwm2m_version: str) -> EncodedRequest:
    """The query and payload that `read_update` reads back; nothing to say leaves both empty."""
    query = [] if request.lifetime_s is None else [f"lt={request.lifetime_s}"]
    if request.binding is not None:
        query += _binding_arguments(request.binding, bool(request.queue_mode), lwm2m_version)
    elif request.queue_mode:
        query.append("Q")
    if request.sms_number is not None:
        query.append(f"sms={request.sms_number}")
    if request.profile_ids is not None:
        query.append("pid=" + ",".join(request.profile_ids))
    query += [f"{name}={value}" for name, value in request.parameters]
    payload = b"" if request.objects is None else link_format.encode(request.objects.links)
    return EncodedRequest(tuple(query), payload)


# An Update that says nothing: it only renews.
NO_CHANGE: Final = UpdateRequest()
# Queries are bounded by `parameters_max` options of 255 bytes (RFC 7252 §5.10).
_QUERIES_CACHED = 512
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_BINDINGS_1_0 = frozenset({"U", "UQ", "S", "SQ", "US", "UQS", "USQ"})


def _combinations(letters: str) -> frozenset[str]:
    """Every non-empty string of distinct letters, in any order."""
    found = {""}
    for _ in letters:
        found |= {known + letter for known in found for letter in letters if letter not in known}
    return frozenset(found - {""})


_KNOWN_BINDINGS = {
    "1.0": _BINDINGS_1_0,
    "1.1": _combinations("UTSN"),
    "1.2": _combinations("UTSNMH"),
}


def _binding_arguments(binding: str, queue_mode: bool, version: str) -> list[str]:
    if not queue_mode:
        return [f"b={binding}"]
    # LwM2M 1.0 has Q inside `b`, later versions beside it.
    return [f"b={binding}Q"] if version == "1.0" else [f"b={binding}", "Q"]


def _without_endpoint_name(query: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The first `ep` of a query, and the other arguments."""
    for index, argument in enumerate(query):
        if argument.startswith("ep="):
            return argument[3:], query[:index] + query[index + 1 :]
    return None, query


def _bad(reason: str, detail: str) -> RegistrationRefused:
    return RegistrationRefused(codes.BAD_REQUEST, reason, detail)
