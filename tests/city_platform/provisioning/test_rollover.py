"""One authority follows another: every step, every kill, and who trusts whom in between."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography import x509

from city_platform.provisioning.certificates import Issued
from city_platform.provisioning.crl import make_crl
from city_platform.provisioning.key_files import pem, write_pair
from city_platform.provisioning.pki import DamagedPki, open_pki
from city_platform.provisioning.rollover import (
    TRANSITIONS,
    AuthorityFiles,
    ImpossibleStep,
)
from city_platform.stores.certificate_register import CertificateRecord
from contracts.api import RolloverState, RolloverStep
from runtime import files
from tests.processes import WITHIN_S

NOW_US = int(datetime.now(UTC).timestamp()) * 1_000_000
STEPS: tuple[RolloverStep, ...] = get_args(RolloverStep)
STATES: tuple[RolloverState, ...] = get_args(RolloverState)
WAY: dict[RolloverState, tuple[RolloverStep, ...]] = {
    "one_anchor": (),
    "two_anchors": ("begin",),
    "new_signs": ("begin", "switch"),
}


def opened(folder: Path) -> AuthorityFiles:
    return open_pki(folder, ["svc:control"], ["127.0.0.1"], NOW_US, os.urandom)


def device(authorities: AuthorityFiles) -> Issued:
    return authorities.signing.for_devices(NOW_US, timedelta(days=9)).issue("lamp-1")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
def test_every_cell_leads_somewhere_or_is_refused(
    tmp_path: Path, state: RolloverState, step: RolloverStep
) -> None:
    authorities = opened(tmp_path)
    for before in WAY[state]:
        authorities.step(before, NOW_US)
    behind = TRANSITIONS[state].get(step)
    if behind is None:
        with pytest.raises(ImpossibleStep, match=state):
            authorities.step(step, NOW_US)
        behind = state
    else:
        assert authorities.step(step, NOW_US) == behind
    again = opened(tmp_path)
    assert again.state == authorities.state == behind
    assert again.anchors == authorities.anchors
    assert len(again.anchors) == (1 if behind == "one_anchor" else 2)


def test_who_signs_changes_at_the_switch_and_who_is_trusted_around_it(tmp_path: Path) -> None:
    authorities = opened(tmp_path)
    old = authorities.signing.der
    authorities.step("begin", NOW_US)
    assert authorities.anchors[0] == authorities.signing.der == old
    new = authorities.anchors[1]
    authorities.step("switch", NOW_US)
    assert authorities.anchors == [new, old]
    assert authorities.signing.der == new
    authorities.step("finish", NOW_US)
    assert authorities.anchors == [new]
    assert sorted(path.name for path in tmp_path.glob("*ca*")) == ["ca.key", "ca.pem"]


class Killed(BaseException):
    """The process ends here."""


def dying_after(files_left: int) -> Callable[[Any, Any], None]:
    """An `os.replace` that ends the process instead of finishing one file more."""
    replace = os.replace

    def replace_or_die(source: Any, target: Any) -> None:
        nonlocal files_left
        files_left -= 1
        if files_left < 0:
            raise Killed
        replace(source, target)

    return replace_or_die


def walk(authorities: AuthorityFiles, way: Sequence[RolloverStep]) -> None:
    for step in way:
        if step in TRANSITIONS[authorities.state]:
            authorities.step(step, NOW_US)


@pytest.mark.slow
@pytest.mark.parametrize("files_left", range(10))
def test_a_kill_at_any_file_leaves_one_of_the_states_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_left: int
) -> None:
    way: tuple[RolloverStep, ...] = ("begin", "switch", "finish")
    authorities = opened(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", dying_after(files_left))
        with pytest.raises(Killed):
            walk(authorities, way)
    again = opened(tmp_path)
    certificate = x509.load_der_x509_certificate(again.signing.der)
    assert certificate.public_key() == again.signing.key.public_key()
    walk(again, way)
    assert again.state == "one_anchor"
    assert opened(tmp_path).anchors == again.anchors


def test_a_damaged_state_is_not_guessed(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "rollover.json").write_bytes(b'{"state": "mood"}')
    with pytest.raises(DamagedPki, match=r"rollover\.json"):
        opened(tmp_path)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation after the switch, with a device's certificate from before and after it."""
    folder = tmp_path_factory.mktemp("pki")
    authorities = opened(folder)
    (folder / "old_anchor.pem").write_bytes(pem("CERTIFICATE", authorities.anchors[0]))
    before = device(authorities)
    write_pair(folder, "device_before", before.certificate, before.key)
    authorities.step("begin", NOW_US)
    authorities.step("switch", NOW_US)
    opened(folder)  # services and broker get their certificates
    (folder / "new_anchor.pem").write_bytes(pem("CERTIFICATE", authorities.anchors[0]))
    after = device(authorities)
    write_pair(folder, "device_after", after.certificate, after.key)
    records = []
    for issued, name in ((before, "before"), (after, "after")):
        record = CertificateRecord(
            sha256=name,
            thing=name,
            der=issued.certificate,
            expires_at_us=issued.expires_at_us,
            state="revoked",
            since_us=NOW_US,
            reason="key_compromise",
        )
        records.append((record, x509.load_der_x509_certificate(issued.certificate)))
    previous = authorities.previous
    assert previous is not None
    for name, revoked in (("none", []), ("both", records)):
        (folder / f"{name}.crl").write_bytes(
            b"".join(
                make_crl(authority, revoked, 1, NOW_US)
                for authority in (authorities.signing, previous)
            )
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("certificate", ["device_before", "device_after", "svc_control"])
@pytest.mark.parametrize("anchor", ["old_anchor", "new_anchor", "ca"])
def test_after_the_switch_everybody_comes_in_with_either_anchor(
    halfway: Path, anchor: str, certificate: str
) -> None:
    assert asyncio.run(_comes_in(halfway, anchor, certificate, "none"))


@pytest.mark.slow
@pytest.mark.parametrize("certificate", ["device_before", "device_after"])
def test_openssl_refuses_what_either_list_names(halfway: Path, certificate: str) -> None:
    assert not asyncio.run(_comes_in(halfway, "ca", certificate, "both"))


async def _comes_in(folder: Path, anchor: str, certificate: str, crl: str) -> bool:
    """Whether a client with this anchor and certificate talks to the broker's listener."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    server_side.load_verify_locations(folder / "ca.pem")
    server_side.load_verify_locations(folder / f"{crl}.crl")
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
    client_side = ssl.create_default_context(cafile=folder / f"{anchor}.pem")
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    client_side.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_side)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side)
        try:
            said = await asyncio.wait_for(reader.read(), WITHIN_S)
        except ssl.SSLError:
            said = b""
        writer.close()
    return said == b"welcome"
