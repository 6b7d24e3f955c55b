"""Which devices a group command is for, and whose they are: provisioning's directory or search."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode

import msgspec

from city_platform.control.requests import InvalidRequest
from city_platform.control.rows import Member
from city_platform.stores.device_directory import Box, DeviceQuery, SqliteDeviceDirectory
from contracts.api import CommandTarget, DevicePage
from contracts.names import is_endpoint_name
from runtime.http_client import HttpClient, HttpError

PAGE: Final = 500
DEVICES_MAX: Final = 10_000
TEXT_LENGTH_MAX: Final = 256
ATTRIBUTES_MAX: Final = 16
# What the directory can be asked; the search knows more.
_DIRECTORY_FIELDS: Final = ("tenant", "site", "group", "model", "box", "attribute")
SEARCH_FIELDS: Final = (
    *_DIRECTORY_FIELDS, "firmware", "feeder", "serial", "text", "near", "within_m",
)  # fmt: skip
_DEGREES: Final = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?", re.ASCII)

Query = Mapping[str, str | list[str]]


class MembersUnavailable(Exception):
    """Who the devices are cannot be asked now; the text says why."""


class Devices(Protocol):
    """Whoever knows the devices of this installation."""

    async def tenants(self, endpoints: Sequence[str]) -> dict[str, str]:
        """The tenant of each of these that exists. Raises `MembersUnavailable`."""

    def search(self, query: Query, tenant: str | None) -> AsyncGenerator[list[Member], None]:
        """Pages of devices, of this tenant alone when it is given, by endpoint name.

        Raises `InvalidRequest` and `MembersUnavailable`.
        """

    async def close(self) -> None:
        """Let go of what is held."""


class NoDevices:
    """Nobody knows: an explicit list is all that a group command can have."""

    async def tenants(self, endpoints: Sequence[str]) -> dict[str, str]:
        """See `Devices`: all exist, and are of no tenant."""
        return dict.fromkeys(endpoints, "")

    def search(self, query: Query, tenant: str | None) -> AsyncGenerator[list[Member], None]:
        """See `Devices`."""
        raise InvalidRequest(
            "target", "only a list of devices: this control has no directory_file and no search"
        )

    async def close(self) -> None:
        """See `Devices`."""


class DirectoryDevices:
    """Devices as provisioning's directory has them."""

    def __init__(self, directory: SqliteDeviceDirectory) -> None:
        self._directory = directory

    async def tenants(self, endpoints: Sequence[str]) -> dict[str, str]:
        """See `Devices`."""
        try:
            return await self._directory.tenants(endpoints)
        except sqlite3.Error as error:
            raise MembersUnavailable(f"the device directory: {error}") from None

    async def search(self, query: Query, tenant: str | None) -> AsyncGenerator[list[Member], None]:
        """See `Devices`."""
        wanted = _directory_query(query, tenant)
        if wanted is None:
            return
        while True:
            try:
                found = await self._directory.search(wanted)
            except sqlite3.Error as error:
                raise MembersUnavailable(f"the device directory: {error}") from None
            if found:
                yield [Member(one.endpoint, one.tenant) for one in found]
            if len(found) < PAGE:
                return
            wanted = msgspec.structs.replace(wanted, after=found[-1].endpoint)

    async def close(self) -> None:
        """See `Devices`."""
        self._directory.close()


class SearchedDevices:
    """Devices as provisioning's search finds them; whose one is, its directory says."""

    def __init__(self, directory: Devices, address: str, token_file: str) -> None:
        self._directory = directory
        self._address = address
        self._token_file = token_file

    async def tenants(self, endpoints: Sequence[str]) -> dict[str, str]:
        """See `Devices`."""
        return await self._directory.tenants(endpoints)

    async def search(self, query: Query, tenant: str | None) -> AsyncGenerator[list[Member], None]:
        """See `Devices`."""
        if tenant is not None and query.get("tenant", tenant) != tenant:
            return
        pairs = [
            (name, value)
            for name, given in {**query, **({"tenant": tenant} if tenant else {})}.items()
            for value in (given if isinstance(given, list) else [given])
        ]
        loop = asyncio.get_running_loop()
        try:
            token = await loop.run_in_executor(None, Path(self._token_file).read_text)
        except OSError as error:
            raise MembersUnavailable(f"the token for the search: {error}") from None
        cursor: str | None = None
        async with HttpClient(self._address, token.strip()) as client:
            while True:
                more = [("cursor", cursor)] if cursor else []
                page = await self._page(client, [*pairs, ("limit", str(PAGE)), *more])
                if page.devices:
                    yield [Member(one.endpoint, one.tenant) for one in page.devices]
                if page.next_cursor is None:
                    return
                cursor = page.next_cursor

    async def close(self) -> None:
        """See `Devices`."""
        await self._directory.close()

    @staticmethod
    async def _page(client: HttpClient, pairs: Sequence[tuple[str, str]]) -> DevicePage:
        try:
            return await client.get(f"/v1/devices?{urlencode(pairs)}", DevicePage)
        except HttpError as error:
            if error.status == 400:
                raise InvalidRequest("target.search", error.detail) from None
            raise MembersUnavailable(f"the device search: {error.detail}") from None
        except (OSError, msgspec.DecodeError) as error:
            raise MembersUnavailable(f"the device search: {error}") from None


def query_of(target: CommandTarget) -> Query | None:
    """What a target asks the search; None when it is a list. Raises `InvalidRequest`."""
    given = [name for name in target.__struct_fields__ if getattr(target, name) is not None]
    if len(given) != 1:
        raise InvalidRequest("target", "give exactly one of devices, group, tenant, search")
    if target.devices is not None:
        return None
    if target.tenant is not None:
        return {"tenant": _text("target.tenant", target.tenant)}
    if target.group is not None:
        tenant, slash, group = target.group.partition("/")
        if not slash or not tenant or not group:
            raise InvalidRequest("target.group", "must be tenant/group, such as harbour/lamps")
        text = {"tenant": tenant, "group": group}
        return {name: _text("target.group", value) for name, value in text.items()}
    return _checked(target.search or {})


def listed(devices: Sequence[str]) -> list[str]:
    """The endpoint names of a list, each once. Raises `InvalidRequest`."""
    if not 0 < len(devices) <= DEVICES_MAX:
        raise InvalidRequest("target.devices", f"must be 1 to {DEVICES_MAX} endpoint names")
    for number, name in enumerate(devices):
        if not is_endpoint_name(name):
            raise InvalidRequest(f"target.devices[{number}]", f"{name[:40]!r} is no endpoint name")
    return list(dict.fromkeys(devices))


def _checked(search: Query) -> Query:
    if not search:
        raise InvalidRequest("target.search", "is empty: for all devices of a tenant, give tenant")
    for name, value in search.items():
        if name not in SEARCH_FIELDS:
            known = ", ".join(sorted(SEARCH_FIELDS))
            raise InvalidRequest("target.search", f"{name[:40]!r} is unknown; known are {known}")
        if isinstance(value, list) and (name != "attribute" or len(value) > ATTRIBUTES_MAX):
            raise InvalidRequest(
                f"target.search.{name}", f"only attribute is a list, of at most {ATTRIBUTES_MAX}"
            )
        for one in value if isinstance(value, list) else [value]:
            _text(f"target.search.{name}", one)
    return search


def _text(field: str, value: str) -> str:
    if not 0 < len(value) <= TEXT_LENGTH_MAX or not value.isprintable():
        raise InvalidRequest(field, f"must be 1 to {TEXT_LENGTH_MAX} printable characters")
    return value


def _directory_query(query: Query, tenant: str | None) -> DeviceQuery | None:
    """None: another tenant's, so nothing is found. Raises `InvalidRequest`."""
    for name in query:
        if name not in _DIRECTORY_FIELDS:
            known = ", ".join(_DIRECTORY_FIELDS)
            raise InvalidRequest(
                f"target.search.{name}",
                f"the directory is searched by {known}; configure `search` for more",
            )
    if tenant is not None and query.get("tenant", tenant) != tenant:
        return None
    texts = {
        name: value
        for name in ("tenant", "site", "group", "model")
        if isinstance(value := query.get(name), str)
    }
    if tenant is not None:
        texts["tenant"] = tenant
    given = query.get("attribute", [])
    attributes: dict[str, str] = {}
    for text in given if isinstance(given, list) else [given]:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidRequest("target.search.attribute", "must be name=value")
        attributes[name] = value
    box = query.get("box")
    return DeviceQuery(
        **texts,
        attributes=attributes,
        box=_box(box) if isinstance(box, str) else None,
        limit=PAGE,
    )


def _box(text: str) -> Box:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(_DEGREES.fullmatch(part) for part in parts):
        raise InvalidRequest("target.search.box", "must be south,west,north,east in degrees")
    south, west, north, east = (float(part) for part in parts)
    return Box(south=south, west=west, north=north, east=east)
