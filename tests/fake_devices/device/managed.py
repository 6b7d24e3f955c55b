"""A device's objects and the servers that manage them, without network, in the ETS's start
configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fake_devices.device import ModelTemplate, Notify, ObjectTree
from fake_devices.device.downlink import Phase, Served, serve
from fake_devices.device.observing import Observing
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import Node, content_formats, decode_payload, encode_payload, link_format
from lwm2m.objects import (
    Models,
    ObjectModel,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    builtin_models,
)
from lwm2m.reporting import AccessContext


class Managed:
    """A device's objects and the servers that manage them, without network; `now` is seconds of a
    clock that the test moves. Notifications gather in `notified`, with their times."""

    def __init__(self, template: ModelTemplate) -> None:
        self.tree = ObjectTree(template, dict(template.values))
        self.models = template.models
        self.observing = Observing()
        self.now = 1000.0
        self.notified: list[tuple[float, Notify]] = []
        self._exchange = 0

    def ask(
        self,
        code: int,
        path: str = "/",
        *query: str,
        payload: bytes = b"",
        content_format: int | None = None,
        accept: int | None = None,
        observe: int | None = None,
        server: int = 1,
        phase: Phase = "managed",
    ) -> Served:
        """What comes of one request."""
        segments = tuple(path.strip("/").split("/")) if path.strip("/") else ()
        request = Request(
            code,
            segments,
            query,
            content_format=content_format,
            accept=accept,
            observe=observe,
            payload=payload,
        )
        return self.send(request, server, phase)

    def send(self, request: Request, server: int = 1, phase: Phase = "managed") -> Served:
        """What comes of any request; `exchange` numbers count from 1."""
        self._exchange += 1
        served = None
        if phase == "managed":
            served = self.observing.serve(self.tree, request, self._exchange, server, self.now)
        if served is None:
            access = AccessContext(server)
            served = serve(self.tree, request, access=access, phase=phase)
        if served.touched:
            self._evaluate(served.touched)
        return served

    def code(self, code: int, path: str, *query: str, **options: Any) -> str:
        """The answer's code as text."""
        return codes.code_text(self.ask(code, path, *query, **options).response.code)

    def write(
        self,
        code: int,
        path: str,
        values: dict[str, Value],
        content_format: int = content_formats.SENML_CBOR,
        **options: Any,
    ) -> str:
        """The code that a request carrying values is answered with."""
        base = ObjectPath.parse(path) if path != "/" else None
        nodes = [Node(ObjectPath.parse(each), value) for each, value in values.items()]
        payload = encode_payload(content_format, base, nodes, self.models)
        return self.code(code, path, payload=payload, content_format=content_format, **options)

    def read(
        self, path: str, accept: int | None = content_formats.SENML_CBOR, **options: Any
    ) -> dict[str, Value]:
        """The values that a Read gives."""
        served = self.ask(codes.GET, path, accept=accept, **options)
        assert served.response.code == codes.CONTENT, codes.code_text(served.response.code)
        return self.values(served.response, path)

    def values(self, response: Response, path: str = "/") -> dict[str, Value]:
        """What a response carries."""
        base = ObjectPath.parse(path) if path != "/" else None
        found = decode_payload(response.content_format, base, response.payload, self.models)
        return {str(node.path): node.value for node in found}

    def links(self, path: str, *query: str, **options: Any) -> dict[str, dict[str, str]]:
        """What a Discover lists: attributes by target, in order."""
        served = self.ask(codes.GET, path, *query, accept=content_formats.LINK_FORMAT, **options)
        assert served.response.code == codes.CONTENT, codes.code_text(served.response.code)
        links = link_format.decode(served.response.payload)
        return {link.target: link.attributes for link in links}

    def change(self, path: str, value: Value) -> None:
        """A value changed by itself."""
        self.tree.apply({ObjectPath.parse(path): value})
        self._evaluate([ObjectPath.parse(path)])

    def run(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        until = self.now + seconds
        while (due := self.observing.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self._evaluate(())
        self.now = until

    def told(self, path: str = "/") -> list[tuple[float, dict[str, Value]]]:
        """Seconds since the beginning, and values, of each notification."""
        return [
            (round(at - 1000.0, 3), self.values(notify.response, path))
            for at, notify in self.notified
        ]

    def _evaluate(self, touched: Collection[ObjectPath]) -> None:
        unix_s = 1.8e9 + self.now
        for notify in self.observing.evaluate(self.tree, self.now, touched=touched, unix_s=unix_s):
            self.notified.append((self.now, notify))


# ETS 1.2 §2.2: configuration C.4 with the optional resources of C.6, and Portfolio (C.12).
_ETS_VALUES: dict[str, Value] = {
    "/1/0/0": 1,
    "/1/0/1": 86_400,
    "/1/0/2": 1,
    "/1/0/3": 10,
    "/1/0/5": 86_400,
    "/1/0/6": False,
    "/1/0/7": "U",
    "/3/0/0": "Open Mobile Alliance",
    "/3/0/1": "Lightweight M2M Client",
    "/3/0/2": "345000123",
    "/3/0/3": "1.0",
    "/3/0/6/0": 1,
    "/3/0/6/1": 2,
    "/3/0/7/0": 0,
    "/3/0/7/1": 0,
    "/3/0/8/0": 0,
    "/3/0/8/1": 0,
    "/3/0/9": 0,
    "/3/0/11/0": 0,
    "/3/0/13": 1_367_491_215,
    "/3/0/14": "+02:00",
    "/3/0/15": "Europe/Paris",
    "/3/0/16": "U",
    "/16/0/0/0": "host",
    "/16/0/0/1": "maker",
}
_ETS_EXECUTABLE = ("/1/0/8", "/3/0/4", "/3/0/5", "/3/0/12")
PORTFOLIO = ObjectModel(
    16,
    "Portfolio",
    "1.0",
    "1.0",
    True,
    False,
    {0: ResourceModel(0, "Identity", ValueType.STRING, "RW", multiple=True, mandatory=True)},
)


def make_ets_device(
    models: Models, version: str, values: dict[str, Value], creatable: Sequence[int]
) -> Managed:
    """A device in the start configuration, with `values` beside or instead of its own."""
    table = {ObjectPath.parse(path): value for path, value in (_ETS_VALUES | values).items()}
    template = ModelTemplate(
        {path.instance for path in table},
        table,
        {**models, 1: builtin_models()[1], 16: PORTFOLIO},
        [ObjectPath.parse(path) for path in _ETS_EXECUTABLE],
        creatable=creatable,
        supported=[(1, 23), (1, 26)],
        lwm2m_version=version,
    )
    return Managed(template)
