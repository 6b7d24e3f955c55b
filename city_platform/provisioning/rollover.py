"""How one authority follows another: states as a table, and the key files of each.

| state         | signs | `ca.pem` (who is trusted) | the broker's certificate             |
|---------------|-------|---------------------------|--------------------------------------|
| `one_anchor`  | A     | A                         | by A                                 |
| `two_anchors` | A     | A, B                      | by A                                 |
| `new_signs`   | B     | B, A                      | by B, and B's key under A's signature |

`switch` asks that brokers and services have read `ca.pem` again since `begin`. From then on a
device with either anchor trusts the broker, and the broker trusts a device's certificate of either,
so devices are renewed in any order and at any pace. `finish` asks that none is left of A's.

A transition prepares its files, writes the state, and then makes the files what the state says;
`settle` does that last step again at each start. A kill between them is mended there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from city_platform.provisioning.certificates import (
    Authority,
    Draw,
    issuer_key_id,
    key_der,
    make_authority,
)
from city_platform.provisioning.key_files import (
    AUTHORITY_LIFETIME,
    DamagedPki,
    pem,
    read_authority,
    read_certificates,
    write_pair,
)
from contracts.api import RolloverState, RolloverStep
from runtime.files import write_atomically, write_secret

AUTHORITY_NAME: Final = "lamplighter installation CA"
# Which step leads from where to where. What is not here is refused.
TRANSITIONS: Final[dict[RolloverState, dict[RolloverStep, RolloverState]]] = {
    "one_anchor": {"begin": "two_anchors"},
    "two_anchors": {"switch": "new_signs", "abandon": "one_anchor"},
    "new_signs": {"finish": "one_anchor"},
}


class ImpossibleStep(ValueError):
    """A rollover in its state does not know this step."""


class _Kept(msgspec.Struct, frozen=True):
    state: RolloverState = "one_anchor"


class AuthorityFiles:
    """The installation's authority and those that it trusts, in `folder`.

    `signing` issues now. `anchors` are all that are trusted, the signing one first. Raises
    `DamagedPki`.
    """

    def __init__(self, folder: Path, now_us: int, draw: Draw) -> None:
        self._folder = folder
        self._draw = draw
        if not (folder / "ca.pem").exists():
            first = make_authority(AUTHORITY_NAME, now_us, AUTHORITY_LIFETIME, draw)
            write_pair(folder, "ca", first.der, key_der(first.key))
        self._state = self._read_state()
        self.settle()

    @property
    def state(self) -> RolloverState:
        """Where the rollover stands."""
        return self._state

    @property
    def previous(self) -> Authority | None:
        """Who signed before, as long as that is still trusted: its revocations are to be told."""
        return self._read("previous_ca") if self._state == "new_signs" else None

    @property
    def following(self) -> Authority | None:
        """Who will sign next, as long as that is trusted and does not sign."""
        return self._read("next_ca") if self._state == "two_anchors" else None

    def step(self, step: RolloverStep, now_us: int) -> RolloverState:
        """Take a step; returns the state behind it. Raises `ImpossibleStep`."""
        state = TRANSITIONS[self._state].get(step)
        if state is None:
            allowed = ", ".join(TRANSITIONS[self._state])
            raise ImpossibleStep(f"{step} is not possible in {self._state}: {allowed} is")
        if step == "begin":
            following = make_authority(AUTHORITY_NAME, now_us, AUTHORITY_LIFETIME, self._draw)
            write_pair(self._folder, "next_ca", following.der, key_der(following.key))
        elif step == "switch":
            write_pair(self._folder, "previous_ca", self.signing.der, key_der(self.signing.key))
        kept = msgspec.json.encode(_Kept(state))
        write_atomically(self._folder / "rollover.json", kept, sync=True)
        self._state = state
        self.settle()
        return state

    def settle(self) -> None:
        """Make the key files what the state says."""
        if self._state == "new_signs":
            self.signing = self._read("next_ca")
            previous = self._read("previous_ca")
            self.anchors = [self.signing.der, previous.der]
            self.broker_chain = self._cross(previous)
            write_secret(self._folder / "ca.key", self._key_pem(), sync=True)
        else:
            self.signing = self._read("ca")
            self.anchors, self.broker_chain = [self.signing.der], list[bytes]()
            if self._state == "two_anchors":
                self.anchors.append(self._read("next_ca").der)
        bundle = b"".join(pem("CERTIFICATE", anchor) for anchor in self.anchors)
        if (self._folder / "ca.pem").read_bytes() != bundle:
            write_atomically(self._folder / "ca.pem", bundle, sync=True)
        if self._state == "one_anchor":
            for name in ("next_ca", "previous_ca", "cross"):
                (self._folder / f"{name}.pem").unlink(missing_ok=True)
                (self._folder / f"{name}.key").unlink(missing_ok=True)

    def is_of_signing(self, certificate: x509.Certificate) -> bool:
        """Whether the authority that signs now signed this certificate."""
        return issuer_key_id(certificate) == self.signing.key_id

    def _cross(self, previous: Authority) -> list[bytes]:
        """The new key under the old signature, made once."""
        path = self._folder / "cross.pem"
        if not path.exists():
            write_atomically(path, pem("CERTIFICATE", previous.vouch_for(self.signing)), sync=True)
        return [found.public_bytes(serialization.Encoding.DER) for found in read_certificates(path)]

    def _key_pem(self) -> bytes:
        return pem("PRIVATE KEY", key_der(self.signing.key))

    def _read(self, name: str) -> Authority:
        return read_authority(self._folder, name, self._draw)

    def _read_state(self) -> RolloverState:
        path = self._folder / "rollover.json"
        if not path.exists():
            return "one_anchor"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Kept).state
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DamagedPki(f"{path}: {error}") from error


def printed_transitions() -> Iterator[str]:
    """The table, a line a transition."""
    for state, steps in TRANSITIONS.items():
        for step, behind in steps.items():
            yield f"{state} --{step}--> {behind}"
