"""The manifest: the devices that an installer has put on their poles, as CSV or JSON rows.

CSV has a header line; columns may come in any order, unknown ones are refused so that a typing
error does not pass for an optional field. JSON is an array of objects or one object a line.
"""

from __future__ import annotations

import contextlib
import re
from base64 import b64decode
from datetime import date
from typing import Final, Literal

import msgspec

from contracts.names import IllegalName, check_endpoint_name, is_tenant_name

Model = Literal["street_lamp", "parking_spot", "water_meter", "air_monitor", "waste_bin"]
MODELS: Final[tuple[Model, ...]] = (
    "street_lamp",
    "parking_spot",
    "water_meter",
    "air_monitor",
    "waste_bin",
)
REQUIRED_COLUMNS: Final = (
    "endpoint",
    "serial",
    "model",
    "tenant",
    "site",
    "street",
    "latitude",
    "longitude",
    "installed_on",
    "psk_identity",
)
# `group` defaults to "<site>/<model>"; `psk` (hex, 16 to 64 bytes) is generated when absent;
# `csr` is a signing request of a device that keeps its private key (PKCS #10; PEM, or its DER as
# base64); `attributes` is a JSON object or `key=value;key=value`; `reports` is what the device
# publishes, `/3303/0;/3304/0/5700` or a JSON array of such paths: a model that is none of `MODELS`
# needs it.
OPTIONAL_COLUMNS: Final = ("group", "psk", "csr", "attributes", "reports")
COLUMNS: Final = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

# What an installer writes as a number; `float` would take 1_0 and other scripts' digits too.
_NUMBER: Final = re.compile(r" *[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]{1,2})? *", re.ASCII)

# An object instance or a resource; leading zeros would give one path two names.
_REPORTED: Final = re.compile(r"(/(0|[1-9][0-9]{0,4})){2,4}", re.ASCII)
# A model is part of group names, file names and reports.
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

# RFC 7468 §7, with the label that some tools still write.
_REQUEST: Final = re.compile(
    r"-----BEGIN (NEW )?CERTIFICATE REQUEST-----(.*)-----END (NEW )?CERTIFICATE REQUEST-----",
    re.DOTALL,
)

REQUEST_BYTES_MAX: Final = 8_192
REPORTS_MAX: Final = 50
ATTRIBUTES_MAX: Final = 50
ATTRIBUTE_LENGTH_MAX: Final = 800
TEXT_LENGTH_MAX: Final = 256


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One device to provision. Positions are WGS 84 degrees.

    `reports` are the paths that the device publishes; empty for one of `MODELS` that publishes
    what its model does. `csr` is the DER of a signing request whose form alone was looked at.
    """

    endpoint: str
    serial: str
    model: str
    tenant: str
    site: str
    group: str
    street: str
    latitude: float
    longitude: float
    installed_on: date
    psk_identity: str
    psk: bytes | None = None
    csr: bytes | None = None
    attributes: dict[str, str] = {}
    reports: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ManifestRow(endpoint={self.endpoint!r}, model={self.model!r}, …)"


class RowError(msgspec.Struct, frozen=True):
    """Why a row was refused. `row` counts from 1 without the header; `field` may be empty."""

    row: int
    field: str
    reason: str
    endpoint: str = ""


class InvalidField(ValueError):
    """One field of a row is wrong; `reason` says what is expected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def read_row(fields: dict[str, object]) -> ManifestRow:
    """Check one row's fields (texts from CSV, JSON values otherwise) and return it typed.

    Raises `InvalidField` naming the first field that is wrong. The value of `psk` is never
    repeated in an error.
    """
    unknown = sorted(set(fields) - set(COLUMNS))
    if unknown:
        raise InvalidField(unknown[0][:40], f"unknown column; known are {', '.join(COLUMNS)}")
    site, model = _text(fields, "site"), _model(fields)
    return ManifestRow(
        endpoint=_endpoint(fields),
        serial=_text(fields, "serial"),
        model=model,
        tenant=_tenant(fields),
        site=site,
        group=_text(fields, "group") if fields.get("group") else f"{site}/{model}",
        street=_text(fields, "street"),
        latitude=_degrees(fields, "latitude", 90),
        longitude=_degrees(fields, "longitude", 180),
        installed_on=_day(fields, "installed_on"),
        psk_identity=_text(fields, "psk_identity", length_max=128),
        psk=_psk(fields.get("psk")),
        csr=_csr(fields.get("csr")),
        attributes=_attributes(fields.get("attributes")),
        reports=_reports(fields.get("reports"), model),
    )


def _endpoint(fields: dict[str, object]) -> str:
    try:
        return check_endpoint_name(_text(fields, "endpoint"))
    except IllegalName as error:
        raise InvalidField("endpoint", str(error)) from None


def _text(fields: dict[str, object], field: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    value = fields.get(field)
    if value is None or value == "":
        raise InvalidField(field, "is missing")
    if not isinstance(value, str):
        raise InvalidField(field, f"must be a text, not {type(value).__name__}")
    if len(value) > length_max:
        raise InvalidField(field, f"has {len(value)} characters, at most {length_max} are allowed")
    if not value.isprintable():
        raise InvalidField(field, "contains a control character")
    return value


def _model(fields: dict[str, object]) -> str:
    value = _text(fields, "model")
    if not _MODEL.fullmatch(value):
        raise InvalidField(
            "model", f"{value[:40]!r} is not 1 to 64 letters, digits, '_', '-' or '.'"
        )
    return value


def _tenant(fields: dict[str, object]) -> str:
    value = _text(fields, "tenant")
    if not is_tenant_name(value):
        raise InvalidField(
            "tenant", f"{value[:40]!r} is not 1 to 128 letters, digits, '_', '-' or '.'"
        )
    return value


def _reports(value: object, model: str) -> tuple[str, ...]:
    if value is None or value in ("", []):
        if model in MODELS:
            return ()
        raise InvalidField(
            "reports",
            f"is missing: {model!r} is none of {', '.join(MODELS)}, so the row must list what the "
            "device publishes, such as /3303/0;/3304/0",
        )
    paths = _report_paths(value)
    if not 0 < len(paths) <= REPORTS_MAX:
        raise InvalidField("reports", f"has {len(paths)} paths, 1 to {REPORTS_MAX} are allowed")
    for position, path in enumerate(paths):
        if not isinstance(path, str) or not _is_reportable(path):
            raise InvalidField(
                "reports", f"{str(path)[:40]!r} is not an object instance or a resource: /3303/0"
            )
        if path in paths[:position]:
            raise InvalidField("reports", f"{path!r} appears twice")
    return tuple(str(path) for path in paths)


def _report_paths(value: object) -> list[object]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            value = msgspec.json.decode(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(";") if part.strip()]
    if isinstance(value, list):
        return value
    raise InvalidField("reports", "must be paths such as /3303/0;/3304/0, or an array of them")


def _is_reportable(path: str) -> bool:
    # 65535 stands for "no instance" (LwM2M 1.1 core §7.2).
    return _REPORTED.fullmatch(path) is not None and all(
        int(number) < 65_535 for number in path[1:].split("/")
    )


def _degrees(fields: dict[str, object], field: str, limit: int) -> float:
    value = fields.get(field)
    if value is None or value == "":
        raise InvalidField(field, "is missing")
    degrees = float("nan")
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        with contextlib.suppress(OverflowError):  # an integer of hundreds of digits
            degrees = float(value)
    if not -limit <= degrees <= limit or isinstance(value, bool):
        raise InvalidField(field, f"{str(value)[:40]!r} is not a number from -{limit} to {limit}")
    return degrees


def _day(fields: dict[str, object], field: str) -> date:
    value = _text(fields, field)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidField(field, f"{value[:40]!r} is not a day such as 2026-05-31") from None


def _psk(value: object) -> bytes | None:
    if value is None or value == "":
        return None
    try:
        key = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise InvalidField("psk", "must be 16 to 64 bytes as hex digits")
    return key


def _csr(value: object) -> bytes | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else ""
    found = _REQUEST.fullmatch(text.strip())
    # base64 in lines, as a PEM file has it, or in one.
    body = "".join((found.group(2) if found else text).split())
    try:
        request = b64decode(body, validate=True)
    except ValueError:
        request = b""
    # An ASN.1 SEQUENCE: another kind of PEM, or a path, is refused here and not as a bad signature.
    if not request.startswith(b"\x30") or len(request) > REQUEST_BYTES_MAX:
        raise InvalidField(
            "csr",
            "must be a signing request (PKCS #10), in PEM or its DER as base64, of at most "
            f"{REQUEST_BYTES_MAX} bytes",
        )
    return request


def _attributes(value: object) -> dict[str, str]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _attribute_text(value)
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise InvalidField("attributes", "must be key=value;key=value, or an object of texts")
    if len(value) > ATTRIBUTES_MAX:
        raise InvalidField("attributes", f"has {len(value)} entries, at most {ATTRIBUTES_MAX}")
    if any(len(text) > ATTRIBUTE_LENGTH_MAX for pair in value.items() for text in pair):
        raise InvalidField("attributes", f"an entry has over {ATTRIBUTE_LENGTH_MAX} characters")
    return value


def _attribute_text(text: str) -> object:
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None
    pairs = [part.partition("=") for part in text.split(";") if part]
    if not all(equals and name for name, equals, _ in pairs):
        return None
    return {name.strip(): value.strip() for name, _, value in pairs}
