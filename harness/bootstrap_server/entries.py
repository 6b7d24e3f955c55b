"""What each device is bootstrapped to: entries from a file or the API, kept on disk.

Entries carry keys: their file is the owner's alone, and nothing gives a key out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from contracts.data_interface import Value
from contracts.names import is_endpoint_name
from harness.lwm2m_server.row_file import RowFile, read_lines
from harness.lwm2m_server.secret_files import numbered_lines
from harness.lwm2m_server.secret_resources import touches_secret
from harness.lwm2m_server.values import ValueReader
from lwm2m.bootstrap import BootstrapPlan, ServerAccountPlan
from lwm2m.errors import LwM2mError
from lwm2m.objects import Models, ObjectPath
from runtime.files import check_owner_only

# The entry for every endpoint that has none of its own.
ANY_ENDPOINT: Final = "*"
STORE_NAME: Final = "bootstrap.jsonl"
_MODES: Final = {"psk": 0, "x509": 2, "nosec": 3}
_SHORT_SERVER_ID_MAX: Final = 65_534


class InvalidEntry(ValueError):
    """An entry that cannot be taken; the text names the field and never a value."""


class EntriesFull(Exception):
    """The store holds as many entries as it may."""


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server to register with. `identity` is the PSK identity; `key` (base64) the PSK.

    With x509, `certificate` and `key` are the device's own and `server_certificate` the server's,
    all DER in base64.
    """

    short_server_id: int
    uri: str
    lifetime_s: int = 86_400
    binding: str = "U"
    security: Literal["nosec", "psk", "x509"] = "nosec"
    identity: str = ""
    certificate: bytes = b""
    server_certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return f"AccountEntry(short_server_id={self.short_server_id}, uri={self.uri!r}, …)"


class BootstrapEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one device, or every other with `*`, is bootstrapped to.

    `delete` comes first, then `accounts` and `values` (as the data interface has them), then
    `read`; `format` is a content format, the client's choice when absent. `pack`: whether a
    Bootstrap-Pack-Request is granted. An entry with keys is given only to who proved to be this
    device, unless `over_nosec`.
    """

    endpoint: str
    accounts: list[AccountEntry] = []
    values: list[Value] = []
    delete: tuple[str, ...] = ("/0", "/1")
    read: list[str] = []
    discover: bool = True
    format: int | None = None
    pack: bool = True
    over_nosec: bool = False

    def holds_keys(self) -> bool:
        """Whether somebody else must not get it."""
        return any(account.key for account in self.accounts) or touches_secret(
            value.path for value in self.values
        )

    def __repr__(self) -> str:
        return f"BootstrapEntry(endpoint={self.endpoint!r}, …)"


class EntrySummary(msgspec.Struct, frozen=True, kw_only=True):
    """An entry without its keys and values."""

    endpoint: str
    servers: list[str]
    paths: list[str]
    delete: tuple[str, ...]
    read: list[str]
    pack: bool


def summary_of(entry: BootstrapEntry) -> EntrySummary:
    """What may be told of an entry."""
    return EntrySummary(
        endpoint=entry.endpoint,
        servers=[account.uri for account in entry.accounts],
        paths=[value.path for value in entry.values],
        delete=entry.delete,
        read=entry.read,
        pack=entry.pack,
    )


def plan_of(entry: BootstrapEntry, models: Models) -> BootstrapPlan:
    """The entry as a plan. Raises `InvalidEntry`."""
    if entry.endpoint != ANY_ENDPOINT and not is_endpoint_name(entry.endpoint):
        raise InvalidEntry(f"endpoint: {entry.endpoint[:40]!r} is no endpoint name, nor *")
    accounts = tuple(_account_plan(account, entry.endpoint) for account in entry.accounts)
    if len({account.short_server_id for account in accounts}) != len(accounts):
        raise InvalidEntry("accounts: a short_server_id is there twice")
    try:
        nodes = tuple(ValueReader(models).nodes(entry.values))
    except LwM2mError as error:
        raise InvalidEntry(f"values: {error}") from None
    return BootstrapPlan(
        accounts=accounts,
        nodes=nodes,
        deletes=tuple(None if text == "/" else _path("delete", text, 2) for text in entry.delete),
        reads=tuple(_path("read", text, 2) for text in entry.read),
        discovers=entry.discover,
        content_format=entry.format,
    )


def _account_plan(account: AccountEntry, endpoint: str) -> ServerAccountPlan:
    if not 1 <= account.short_server_id <= _SHORT_SERVER_ID_MAX:
        raise InvalidEntry(f"short_server_id: 1 to {_SHORT_SERVER_ID_MAX}")
    scheme, _, rest = account.uri.partition("://")
    secure = account.security != "nosec"
    if not rest or scheme not in ("coap", "coaps", "coap+tcp", "coaps+tcp"):
        raise InvalidEntry(f"uri: {account.uri[:60]!r} is not coap://host:port or coaps://…")
    if secure != scheme.startswith("coaps"):
        raise InvalidEntry(f"uri: {scheme} does not go with security {account.security}")
    if secure and not account.key:
        raise InvalidEntry(f"key: {account.security} needs one")
    is_psk = account.security == "psk"
    identity = (account.identity or endpoint).encode() if is_psk else account.certificate
    if account.security == "x509" and not (identity and account.server_certificate):
        raise InvalidEntry("certificate, server_certificate: x509 needs both")
    return ServerAccountPlan(
        short_server_id=account.short_server_id,
        uri=account.uri,
        lifetime_s=account.lifetime_s,
        binding=account.binding,
        security_mode=_MODES[account.security],
        identity=identity if secure else b"",
        server_public_key=account.server_certificate,
        secret_key=account.key,
    )


def _path(field: str, text: str, depth_max: int) -> ObjectPath:
    try:
        path = ObjectPath.parse(text)
    except LwM2mError as error:
        raise InvalidEntry(f"{field}: {error}") from None
    if path.depth > depth_max:
        raise InvalidEntry(f"{field}: {text} is neither an object nor an instance")
    return path


class _Removed(msgspec.Struct, frozen=True):
    removed: str


_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(BootstrapEntry)
_removed_decoder = msgspec.json.Decoder(_Removed)


def decode_entry(data: bytes) -> BootstrapEntry:
    """One entry in JSON. Raises `InvalidEntry` with the field."""
    try:
        return _entry_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec names the field and the types, never the content.
        raise InvalidEntry(str(error)) from None


def read_entries(file: str) -> Iterator[BootstrapEntry]:
    """The entries of a file, one JSON object a line; with keys, it must be its owner's alone.

    Raises `InvalidEntry` with the line, `ConfigError` for a file that cannot be used.
    """
    for number, line in numbered_lines(file):
        try:
            entry = decode_entry(line)
        except InvalidEntry as error:
            raise InvalidEntry(f"{file}, line {number}: {error}") from None
        if any(account.key for account in entry.accounts):
            check_owner_only(file)
        yield entry


class EntryStore:
    """Plans by endpoint. Each change is appended to a file that is compacted at start."""

    def __init__(self, directory: Path, models: Models, *, entries_max: int) -> None:
        self._models = models
        self._entries_max = entries_max
        self._entries: dict[str, tuple[BootstrapEntry, BootstrapPlan]] = {}
        self._load(directory / STORE_NAME)
        kept = [_encoder.encode(entry) for entry, _ in self._entries.values()]
        self._file = RowFile(directory / STORE_NAME, kept)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, endpoint: str) -> tuple[BootstrapEntry, BootstrapPlan] | None:
        """What this endpoint is bootstrapped to: its own entry, or the one for any."""
        return self._entries.get(endpoint) or self._entries.get(ANY_ENDPOINT)

    def own(self, endpoint: str) -> BootstrapEntry | None:
        """The entry under exactly this name."""
        found = self._entries.get(endpoint)
        return None if found is None else found[0]

    def put(self, entry: BootstrapEntry) -> bool:
        """Add or replace one; False when it was there as it is.

        Raises `InvalidEntry` or `EntriesFull`; kept when it returns.
        """
        if self.own(entry.endpoint) == entry:
            return False
        plan = plan_of(entry, self._models)
        if entry.endpoint not in self._entries and len(self._entries) >= self._entries_max:
            raise EntriesFull(f"the bootstrap server holds {self._entries_max} entries")
        self._file.append([_encoder.encode(entry)])
        self._entries[entry.endpoint] = (entry, plan)
        return True

    def remove(self, endpoint: str) -> bool:
        """Forget one; False when there was none."""
        if endpoint not in self._entries:
            return False
        self._file.append([_encoder.encode(_Removed(endpoint))])
        del self._entries[endpoint]
        return True

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def _load(self, path: Path) -> None:
        for line in read_lines(path):
            try:
                if line.startswith(b'{"removed"'):
                    self._entries.pop(_removed_decoder.decode(line).removed, None)
                else:
                    entry = _entry_decoder.decode(line)
                    self._entries[entry.endpoint] = (entry, plan_of(entry, self._models))
            except (msgspec.DecodeError, UnicodeDecodeError, InvalidEntry):
                continue  # the last line, cut short by a kill before it was answered
