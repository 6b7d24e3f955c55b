"""Eclipse Leshan as a peer process: server, bootstrap server or client; see leshan/Peer.java."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lwm2m.objects import ObjectModel, builtin_models
from tests.interop.fetch_leshan import fetch
from tests.interop.processes import WITHIN_S, JsonProcess, Line

Triple = tuple[str, str, Any]


class PeerRefused(Exception):
    """Leshan did not do what it was told, by its own words."""


class LeshanPeer:
    """One Leshan process. `address` has its ports when it is a server."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._numbers = itertools.count(1)
        self.process = JsonProcess(
            [
                "java",
                # Short-lived: start quickly rather than run fast.
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                ":".join(fetch()),
                "Peer",
            ]
        )
        self.process.say({"models": object_models(), **config})

    def await_ready(self) -> Line:
        """Its ports, once it listens."""
        return self.process.ready()

    @property
    def lines_so_far(self) -> int:
        """Where `until_event` begins for what happens from now on."""
        return len(self.process.lines)

    def ask(self, do: str, *, within_s: float = WITHIN_S, **fields: Any) -> Line:
        """Have it do something; its answer. Raises `PeerRefused` when it says that it cannot."""
        number = next(self._numbers)
        after = len(self.process.lines)
        self.process.say({"id": number, "do": do, **fields})
        answer = self.process.until_object(
            lambda line: line.get("id") == number, after=after, within_s=within_s
        )
        if "failed" in answer:
            raise PeerRefused(answer["failed"])
        return answer

    def until_event(
        self, kind: str, *, after: int = 0, within_s: float = WITHIN_S, **fields: Any
    ) -> Line:
        """The first event of this kind, and with these fields, from line `after` on."""

        def found(line: Line) -> bool:
            return line.get("event") == kind and all(
                line.get(name) == value for name, value in fields.items()
            )

        return self.process.until_object(found, after=after, within_s=within_s)

    def end(self) -> None:
        """End the process."""
        self.process.end()


def leshan_server(
    *,
    psk: Sequence[Mapping[str, str]] = (),
    x509_endpoints: Sequence[str] = (),
    x509: Mapping[str, str] | None = None,
    role: str = "server",
) -> LeshanPeer:
    """Leshan's server, or with `role` bootstrap its bootstrap server; keys and certificates in hex
    (DER). Await its ports with `await_ready`."""
    return LeshanPeer(
        {
            "role": role,
            "psk": list(psk),
            "x509_endpoints": list(x509_endpoints),
            "x509": x509,
        }
    )


def object_models() -> list[dict[str, Any]]:
    """Our definitions for Leshan, which has only those of the core objects."""
    return [_model(each) for each in builtin_models().values()]


def _model(model: ObjectModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "multiple": model.multiple,
        "mandatory": model.mandatory,
        "resources": [
            {
                "id": resource.id,
                "name": resource.name,
                "operations": str(resource.operations),
                "multiple": resource.multiple,
                "mandatory": resource.mandatory,
                "type": str(resource.type),
            }
            for resource in model.resources.values()
        ],
    }
