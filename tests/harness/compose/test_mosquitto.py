"""The composed broker's own start and settings, under Debian's Mosquitto: who has a certificate is
let in, who has none or is revoked is not, and a changed list is read without a restart."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from city_platform.provisioning.crl import write_first_lists
from city_platform.provisioning.pki import open_pki
from harness.compose.hand_out import hand_out
from harness.compose.installation import CLIENTS, FOLDERS, PORTS, STATE_FOLDER, Choices
from harness.compose.setup import set_up
from harness.mqtt_broker.mosquitto import find_mosquitto
from runtime.clock import SystemClock
from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[3]
HEALTH: list[str] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["broker"][
    "healthcheck"
]["test"]
ACCEPTED = b"\x20\x02\x00\x00"

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto]


class Broker:
    """The broker's container, but for its walls."""

    def __init__(self, root: Path) -> None:
        self.root, self.pki = root, root / "state" / "pki"
        for folder in (*FOLDERS, STATE_FOLDER):
            (root / "all" / folder).mkdir(parents=True)
        for folder in ("state", "store"):
            (root / folder).mkdir()
        now_us = SystemClock().wall_us()
        set_up(root / "all", Choices(), os.urandom, now_us)
        authorities = open_pki(self.pki, CLIENTS.values(), ["localhost"], now_us, os.urandom)
        write_first_lists(self.pki, authorities, now_us)
        self.hand_out()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._localise()
        self.log = root / "broker.log"
        with self.log.open("wb") as log:
            path = f"{Path(str(find_mosquitto())).parent}:{os.environ['PATH']}"
            script = root / "all" / "broker" / "start.sh"
            self.process = subprocess.Popen(
                ["sh", str(script)], env={**os.environ, "PATH": path}, stderr=log
            )
        check = HEALTH[-1].replace(f":{PORTS['broker']:04X} ", f":{self.port:04X} ")
        assert check != HEALTH[-1]
        self._until(check)

    def hand_out(self) -> None:
        hand_out(self.pki, self.root / "all", self.root / "state" / "handed_out")

    def _localise(self) -> None:
        own = self.root / "all" / "broker"
        for file in (own / "mosquitto.conf", own / "start.sh"):
            text = file.read_text().replace("/private", str(own)).replace("0.0.0.0", "127.0.0.1")
            text = text.replace(f"listener {PORTS['broker']}", f"listener {self.port}")
            text = text.replace(" /state/", f" {self.root}/store/")
            if file.suffix == ".conf" and os.geteuid() == 0:
                text += "user root\n"
            file.write_text(text)

    def _until(self, check: str) -> None:
        waits = f"until {check}; do sleep 0.1; done"
        subprocess.run(["sh", "-c", waits], timeout=WITHIN_S, check=True)

    def until_said(self, text: str) -> None:
        self._until(f"grep -q '{text}' '{self.log}'")

    def until_another_than(self, before: int) -> None:
        """Until a Mosquitto runs that is not this one."""
        self._until(f"pgrep -P {self.process.pid} -x mosquitto | grep -vqx {before}")

    def answer(self, holder: str | None) -> bytes:
        """What the broker says to a CONNECT of a container; nothing when it hangs up."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.pem"))
        name = b"somebody"
        if holder is not None:
            own = self.root / "all" / holder / "certificates"
            context.load_cert_chain(own / "own.pem", own / "own.key")
            name = CLIENTS[holder].encode()
        connect = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2) + name
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), WITHIN_S) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(bytes([0x10, len(connect)]) + connect)
                return secured.recv(4)
        except (ssl.SSLError, ConnectionError):
            return b""

    def revoke(self, holder: str) -> None:
        """Put a container's certificate on the list, as provisioning does, and hand it out."""
        file = CLIENTS[holder].replace(":", "_")
        revoked = x509.load_pem_x509_certificate((self.pki / f"{file}.pem").read_bytes())
        authority = x509.load_pem_x509_certificate((self.pki / "ca.pem").read_bytes())
        key: Any = serialization.load_pem_private_key((self.pki / "ca.key").read_bytes(), None)
        now = datetime.fromtimestamp(SystemClock().wall_us() // 1_000_000, UTC)
        entry = x509.RevokedCertificateBuilder(revoked.serial_number, now).build()
        listed = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now)
            .next_update(now + timedelta(days=1))
            .add_revoked_certificate(entry)
            .sign(key, hashes.SHA256())
        )
        (self.pki / "crl.pem").write_bytes(listed.public_bytes(serialization.Encoding.PEM))
        self.hand_out()

    def mosquitto(self) -> int:
        """The process id of Mosquitto itself."""
        children = psutil.Process(self.process.pid).children()
        return next(child.pid for child in children if child.name() == "mosquitto")

    def close(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(WITHIN_S) == 0
        finally:
            self.process.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    found = Broker(tmp_path)
    yield found
    found.close()


def test_who_has_a_certificate_is_let_in_until_it_is_revoked(broker: Broker) -> None:
    assert broker.answer("control") == broker.answer("audit") == ACCEPTED
    assert broker.answer(None) == b""
    before = broker.mosquitto()
    broker.revoke("audit")
    broker.until_said("Mosquitto reads them again")
    # It hears of the signal in its own time, within a few handshakes.
    assert any(broker.answer("audit") == b"" for _ in range(200))
    assert broker.answer("control") == ACCEPTED
    assert broker.mosquitto() == before, "nobody who is connected is thrown off"


def test_another_authority_has_it_start_anew(broker: Broker) -> None:
    before = broker.mosquitto()
    own = broker.root / "all" / "broker" / "certificates" / "ca.pem"
    own.write_bytes(own.read_bytes() * 2)
    broker.until_said("Mosquitto starts anew")
    broker.until_another_than(before)
    assert broker.mosquitto() != before
