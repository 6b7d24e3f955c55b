"""Fills the tables of docs/reference/interfaces.md and manifest.md from the contracts.

A page is written by hand but for its blocks, from `<!-- made: NAME -->` to `<!-- end -->`. What a
type cannot say is said here, keyed by what it is about: something new has no text, which is an
error and not a gap on the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from contracts import api, credentials, manifest, telemetry
from contracts import data_interface as frames
from contracts.names import Principal, PrincipalKind, service_identity
from contracts.policy import POLICY_TABLE, policy_for
from contracts.topics import Topics
from harness.bootstrap_server.core import SessionReport
from harness.bootstrap_server.entries import AccountEntry, BootstrapEntry, EntrySummary
from harness.lwm2m_server.admin import (
    ObservationPage,
    ObservationRow,
    OperationOpen,
    OperationRequest,
    RegistrationPage,
)
from harness.lwm2m_server.answer_codes import SUCCESS
from harness.lwm2m_server.bodies import RejectedRow, SecurityImport
from harness.lwm2m_server.oscore_store import OscoreRow
from harness.printed_pages import write_printed_pages
from harness.reporting.reference import type_text
from lwm2m.bootstrap import StepResult
from lwm2m.coap import codes

PAGES: Final = ("docs/reference/interfaces.md", "docs/reference/manifest.md")
COMMAND: Final = "python -m harness.reference_pages"
ROOT: Final = Path(__file__).parents[1]

Golden = Mapping[str, Any]

_BLOCK = re.compile(r"(<!-- made: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_PAYLOADS: Final[dict[str, str]] = {
    "event": "[`Event`](#event), byte for byte as the server framed it",
    "credentials": "[`SealedCredentials`](#sealedcredentials)",
    "command": "[`Command`](#command), when no server is known to hold the device",
    "held_command": "[`Command`](#command), for the server that holds the device",
    "holder": "JSON: a registration that a later one elsewhere has overtaken "
    "([many bridges](../operations/many_bridges.md#two-servers-claim-one-device))",
    "state": "[a pack of readings](#packs-of-readings-and-alarms), SenML CBOR",
    "alarm": "[a pack of alarms](#packs-of-readings-and-alarms), SenML CBOR",
    "presence": "JSON: birth, last will or good-bye of the device's connection "
    "([presence](../operations/many_bridges.md#presence-of-devices))",
    "bridge_status": "JSON: how a bridge stands and what it carries "
    "([many bridges](../operations/many_bridges.md#what-a-bridge-says-of-itself))",
    "lifecycle": "JSON of the broker itself, as AWS IoT Core publishes it; nobody else may",
}
_EVENT_KINDS: Final[dict[frames.EventKind, str]] = {
    "registered": "the device registered; `registration` has all of it",
    "updated": "it updated its registration",
    "deregistered": "its registration ended; `reason` says why",
    "notification": "what is observed changed; `path` or `paths` with `values`, and whose "
    "`observation_id`",
    "observation_ended": "nothing more is reported of it; `ended` says why",
    "send": "the device sent values unasked (LwM2M Send)",
    "sleeping": "a queue-mode device went to sleep: its commands wait",
    "awake": "a queue-mode device that slept was heard of",
    "bootstrap": "the last command of a procedure succeeded; `completed` names procedure, version",
    "result": "a command ended; `result` is its outcome",
}
_OPERATIONS: Final[dict[frames.Operation, str]] = {
    "read": "read an object, an instance, a resource or a resource instance",
    "discover": "list what is there, with attributes; `depth` from LwM2M 1.2",
    "write": "write `values`; what is not among them goes, unless `mode` is `update`",
    "write_attributes": "set notification `attributes`; one with an empty text is removed",
    "execute": "execute a resource, with `arguments`; never sent twice",
    "create": "create an instance with `values`, whose instance 65535 leaves its id to the device; "
    "never sent twice",
    "delete": "delete an instance or, from LwM2M 1.2, a resource instance",
    "observe": "have changes reported; from LwM2M 1.2 with `attributes`",
    "observe_composite": "the same of several `paths`; from LwM2M 1.1, `attributes` from 1.2",
    "cancel_observation": "end what was observed by `path`, or by those `paths`; with `passive`, "
    "the next notification is answered by Reset",
    "read_composite": "read several `paths`; `/` is all there is; from LwM2M 1.1",
    "write_composite": "write `values` of any instances, and remove the resource instances in "
    "`paths`, all or nothing; from LwM2M 1.1",
}
_OBSERVATION_ENDS: Final[dict[frames.ObservationEnd, str]] = {
    "cancelled": "a command cancelled it",
    "replaced": "a newer observe of the same took its place",
    "registration_ended": "its registration ended; a new one has no observations",
    "refused": "the device answered with an error: to a notification's turn, or when it was asked "
    "again after a restart or in a new session",
    "malformed": "a notification broke CoAP",
}
_COMMAND_STATES: Final[dict[api.CommandState, str]] = {
    "queued": "it is on disk and not published yet",
    "sent": "it is published, and the broker has not acknowledged it",
    "delivered": "the broker has it; there is no outcome yet. A command for a device that no "
    "server holds stays here until it expires",
    "succeeded": "the device did it: its answer was 2.xx; `outcome` has code and values",
    "refused": "the device answered with an error; `outcome` has its code",
    "failed": "no device was asked: `outcome` says at which stage it ended",
    "expired": "its time was over before it was sent to the device. A command for an unknown "
    "device ends here",
    "cancelled": "it was taken back before it was sent to the device",
    "unknown": "it went to the server that holds the device, and no outcome came within 93 s of "
    "its expiry, or the outcome says so: it may or may not have happened",
}
# What it means, and the state in which a command of the control API then ends.
OUTCOME_STAGES: Final[dict[frames.Stage, tuple[str, api.CommandState]]] = {
    "invalid": ("the server cannot make a request of it", "failed"),
    "not_registered": ("this server, or the named holder, does not hold the device", "failed"),
    "expired": ("it waited for the device until `expires_at_us`", "expired"),
    "timeout": ("it was sent and never answered: it may have happened", "unknown"),
    "coap": (
        "the device refused it (`code`), or broke CoAP (no `code`). With a `code` of 2.xx the "
        "device did it, and its answer cannot be used",
        "refused",
    ),
    "cancelled": ("it was taken back before it was sent", "cancelled"),
    "unknown": ("it was sent and its answer was lost: it may have happened", "unknown"),
}
_PACK_KEYS: Final[dict[str, tuple[str, str, str]]] = {
    telemetry.KEY_SEQUENCE: ("first", "integer", "pack number, from 1, per device and boot"),
    telemetry.KEY_BOOT: ("first", "text", "boot id, new at every start of the device"),
    telemetry.KEY_ALARM: ("alarm", "text", "type of the alarm, such as `lamp_failure`"),
    telemetry.KEY_SEVERITY: (
        "alarm",
        "text",
        ", ".join(f"`{name}`" for name in get_args(telemetry.Severity)),
    ),
    telemetry.KEY_ALARM_SEQUENCE: ("alarm", "integer", "alarm number, from 1, likewise"),
    telemetry.KEY_VALUE: ("alarm", "number", "the value that crossed (optional)"),
    telemetry.KEY_THRESHOLD: ("alarm", "number", "what it crossed (optional)"),
}
_TEXT: Final = f"text, at most {manifest.TEXT_LENGTH_MAX} characters"
_COLUMNS: Final[dict[str, str]] = {
    "endpoint": "LwM2M endpoint name, MQTT client id and thing name at once: 1 to 128 of "
    "`A-Z a-z 0-9 : _ -`, not beginning with `svc:`",
    "serial": f"serial number; {_TEXT}",
    "model": ", ".join(f"`{name}`" for name in manifest.MODELS)
    + ", or a name of your own (1 to 64 of `A-Z a-z 0-9 _ . -`) with `reports`",
    "reports": "what the device publishes: object instances or resources such as "
    "`/3303/0;/3304/0/5700`, or a JSON array of them, at most "
    f"{manifest.REPORTS_MAX}. Default: what its model publishes",
    "tenant": "whose device it is: 1 to 128 of `A-Z a-z 0-9 _ . -`",
    "site": f"part of the tenant's installation; {_TEXT}",
    "street": f"where it stands, for people; {_TEXT}",
    "latitude": "WGS 84 degrees, -90 to 90, with a decimal point",
    "longitude": "WGS 84 degrees, -180 to 180, with a decimal point",
    "installed_on": "ISO 8601 day, such as `2026-05-31`",
    "psk_identity": "with which the device names its pre-shared key, unique in the installation; "
    "text, at most 128 characters",
    "group": f"group of the tenant's devices; {_TEXT}. Default: `<site>/<model>`",
    "psk": "pre-shared key as hex digits, 16 to 64 bytes (32 to 128 digits). Default: the key "
    "that the device has already, else 16 bytes drawn by chance",
    "csr": "signing request of a device that keeps its private key (PKCS #10 for a P-256 key, "
    "signed with it; its only name the endpoint's): PEM, or its DER as base64, at most "
    f"{manifest.REQUEST_BYTES_MAX} bytes. Default: the platform makes the key",
    "attributes": "`key=value;key=value` (spaces around both are cut off), or a JSON object of "
    f"texts; at most {manifest.ATTRIBUTES_MAX} entries, each key and value at most "
    f"{manifest.ATTRIBUTE_LENGTH_MAX} characters. Default: none",
}
_CREDENTIALS: Final[tuple[type[msgspec.Struct], ...]] = (
    credentials.SealedCredentials,
    credentials.CredentialsDocument,
    credentials.BrokerCredentials,
    credentials.Publication,
)
_ADMIN_BODIES: Final[tuple[type[msgspec.Struct], ...]] = (
    SecurityImport,
    RejectedRow,
    OscoreRow,
    RegistrationPage,
    ObservationPage,
    ObservationRow,
    OperationRequest,
    OperationOpen,
)
_BOOTSTRAP_BODIES: Final[tuple[type[msgspec.Struct], ...]] = (
    BootstrapEntry,
    AccountEntry,
    EntrySummary,
    SessionReport,
    StepResult,
)
_API_BODIES: Final[tuple[type[msgspec.Struct], ...]] = (
    api.Problem,
    api.ImportJob,
    api.ImportPage,
    api.RowErrors,
    api.Settings,
    api.DeviceRecord,
    api.CommandRequest,
    api.CommandRecord,
    api.CommandPage,
    api.CommandTarget,
    api.GroupCommandRequest,
    api.GroupCommandRecord,
    api.GroupCommandPage,
    api.Readings,
    api.Alarms,
    api.Commit,
    api.AlarmStored,
    api.DeadLettered,
    api.FeedGap,
    api.IngestionCounts,
)


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """The page with each of its blocks made anew. Raises `KeyError` for an unknown block."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{blocks[found[2]]}\n\n{found[3]}", page)


def block_names(page: str) -> list[str]:
    """The blocks that a page has, in order."""
    return [name for _, name, _ in _BLOCK.findall(page)]


def make_blocks(golden: Callable[[str], Golden]) -> dict[str, str]:
    """All blocks by name. `golden` gives the examples of a contract by its file's name."""
    examples = golden("data_interface")
    return {
        "topics": _topics(),
        "policy": _policy(),
        "event_kinds": _table(("kind", "what happened"), _texts(frames.EventKind, _EVENT_KINDS)),
        "command_states": _command_states(),
        "outcome_stages": _outcome_stages(),
        "observation_ends": _table(
            ("`ended`", "why"), _texts(frames.ObservationEnd, _OBSERVATION_ENDS)
        ),
        "pack_keys": _pack_keys(),
        "units": _units(),
        "server_frames": _frames(frames.ServerFrame, examples["server_frames"]),
        "bridge_frames": _frames(frames.BridgeFrame, examples["bridge_frames"]),
        "frame_parts": _frame_parts(),
        "operations": _operations(),
        "credentials": "\n\n".join(map(_section, _CREDENTIALS)),
        "admin_bodies": "\n\n".join(map(_section, _ADMIN_BODIES)),
        "bootstrap_bodies": "\n\n".join(map(_section, _BOOTSTRAP_BODIES)),
        "bodies": _bodies(golden("api")),
        "manifest_columns": _manifest_columns(),
        "manifest_csv": _manifest_csv(golden("manifest")),
        "manifest_json": _manifest_json(golden("manifest")),
        "manifest_refused": _manifest_refused(golden("manifest")),
    }


# ---- MQTT ----


def _topics() -> str:
    rows = [
        (f"`{name}`", f"`{getattr(Topics(), name)}`", _who(0, name), _who(1, name), _PAYLOADS[name])
        for name in Topics.__struct_fields__
    ]
    return _table(("name", "topic", "published by", "read by", "payload"), rows)


def _who(side: int, name: str) -> str:
    return ", ".join(kind for kind, sides in POLICY_TABLE.items() if name in sides[side])


def _policy() -> str:
    rows = []
    for kind in get_args(PrincipalKind):
        principal = _principal(kind)
        policy = policy_for(principal, Topics())
        rows.append(
            (
                kind,
                f"`{principal.identity}`",
                _codes(policy.publish) or "nothing",
                _codes(policy.subscribe) or "nothing",
            )
        )
    return _table(("who", "common name and client id", "may publish", "may subscribe to"), rows)


def _principal(kind: PrincipalKind) -> Principal:
    if kind == "device":
        return Principal(kind, "{endpoint}")
    server = "{server}" if kind == "bridge" else ""
    return Principal(kind, service_identity(kind, server), server)


def _pack_keys() -> str:
    named = [value for name, value in vars(telemetry).items() if name.startswith("KEY_")]
    rows = [(f"`{key}`", *_PACK_KEYS[key]) for key in named]
    return _table(("key", "record", "type", "meaning"), rows)


def _units() -> str:
    offsets = telemetry.SENML_UNIT_OFFSETS
    rows = [
        (f"`{unit}`", f"`{senml}`", f"× {factor:g}", f"{offsets.get(unit, 0):+g}")
        for unit, (senml, factor) in telemetry.SENML_UNITS.items()
        if senml is not None and senml != unit
    ]
    return _table(
        ("LwM2M unit", "unit of the reading", "factor", "then"),
        [(unit, senml, factor, "" if then == "+0" else then) for unit, senml, factor, then in rows],
    )


# ---- data interface and HTTP ----


def _command_states() -> str:
    rows = [
        (f"`{state}`", "yes" if state in api.FINAL_COMMAND_STATES else "no", meaning)
        for state in get_args(api.CommandState)
        for meaning in [_COMMAND_STATES[state]]
    ]
    return _table(("state", "ended", "meaning"), rows)


def _outcome_stages() -> str:
    rows = [(f"`{stage}`", *OUTCOME_STAGES[stage]) for stage in get_args(frames.Stage)]
    return _table(
        ("`error.stage`", "meaning", "the command ends"),
        [(stage, meaning, f"`{state}`") for stage, meaning, state in rows],
    )


def _operations() -> str:
    rows = [
        (f"`{name}`", f"`{codes.code_text(SUCCESS[name])}`", what)
        for name, what in _texts_of(frames.Operation, _OPERATIONS)
    ]
    return _table(("operation", "done", "what it does"), rows)


def _frames(union: Any, examples: Sequence[Golden]) -> str:
    sections = []
    for frame in get_args(union):
        tag = frame.__struct_config__.tag
        example = next(one for one in examples if one["type"] == tag)
        sections.append(_section(frame, example))
    return "\n\n".join(sections)


def _frame_parts() -> str:
    parts = (
        frames.Limits,
        frames.Registration,
        frames.ObjectLink,
        frames.Security,
        frames.Value,
        frames.Outcome,
        frames.ResultError,
        frames.Holder,
        frames.Completes,
    )
    return "\n\n".join(_section(part) for part in parts)


def _bodies(examples: Golden) -> str:
    by_kind = {line["kind"]: line for line in examples["FeedLine"]}
    sections = []
    for body in _API_BODIES:
        tag = body.__struct_config__.tag
        found = by_kind[tag] if tag else examples[body.__name__][0]
        sections.append(_section(body, found))
        if body is api.RowErrors:
            sections.append(_section(manifest.RowError))
    return "\n\n".join(sections)


def _section(struct: type[msgspec.Struct], example: Golden | None = None) -> str:
    """Heading, what it is, its fields, and an example on one line."""
    _, components = msgspec.json.schema_components([struct])
    schema = components[struct.__name__]
    lines = [f"#### {struct.__name__}", "", _prose(str(schema["description"])), ""]
    lines.append(_table(("field", "type", "when left out"), _fields(schema)))
    if example is not None:
        lines += ["", "```json", json.dumps(example, ensure_ascii=False), "```"]
    return "\n".join(lines)


def _fields(schema: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, of_field in schema["properties"].items():
        # `v` has a factory, which no schema shows.
        default = of_field.get("default", frames.VERSION if name == "v" else None)
        left_out = "required" if name in required else f"`{json.dumps(default)}`"
        yield f"`{name}`", _unlinked(type_text(of_field)), left_out


def _unlinked(text: str) -> str:
    # Rows have a section on the page by the name of their columns, not of their type.
    return text.replace("[Alarm](#alarm)", "[row](#rows)")


def _prose(docstring: str) -> str:
    paragraphs = re.split(r"\n\s*\n", docstring)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


# ---- manifest ----


def _manifest_columns() -> str:
    rows = [
        (f"`{name}`", "yes" if name in manifest.REQUIRED_COLUMNS else "no", _COLUMNS[name])
        for name in manifest.COLUMNS
    ]
    return _table(("column", "required", "what it holds"), rows)


def _manifest_csv(examples: Golden) -> str:
    fields = examples["rows"][0]["fields"]
    return "\n".join(["```csv", ",".join(fields), ",".join(fields.values()), "```"])


def _manifest_json(examples: Golden) -> str:
    return "\n".join(["```json", json.dumps(examples["rows"][1]["fields"]), "```"])


def _manifest_refused(examples: Golden) -> str:
    base = examples["rows"][0]["fields"]
    rows = []
    for refused in examples["refused"]:
        ((field, value),) = refused["changes"].items()
        rows.append((f"`{field}`", f"`{json.dumps(value)}`", _reason({**base, field: value})))
    return _table(("field", "value", "reason that is told"), rows)


def _reason(fields: dict[str, object]) -> str:
    try:
        manifest.read_row(fields)
    except manifest.InvalidField as error:
        return error.reason
    raise ValueError("an example of a refused row is taken")


# ---- Markdown ----


def _texts_of(names: Any, texts: Mapping[Any, str]) -> list[tuple[Any, str]]:
    return [(name, texts[name]) for name in get_args(names)]


def _texts(names: Any, texts: Mapping[Any, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", texts[name]) for name in get_args(names)]


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def golden_examples(name: str) -> Golden:
    """The content of `contracts/golden/<name>.json`."""
    found: Golden = json.loads((ROOT / "contracts" / "golden" / f"{name}.json").read_text())
    return found


def main() -> None:
    """Make the blocks of both pages anew, in place, and the pages that are printed whole."""
    blocks = make_blocks(golden_examples)
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text(), blocks))
    write_printed_pages()


if __name__ == "__main__":
    main()
