"""Makes what an installation needs before its first container starts: no secret is a default.

Each container has a folder of its own. A secret that several share is drawn once and is in the
folders of these alone; one that is there already stays, in whatever folder it is: a further start
changes nothing, and what was lost is made again. Configurations are written anew each time.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.topics import Topics
from harness.compose.installation import (
    DIRECTORY,
    FOLDERS,
    KNOWS_THE_ISSUER,
    PAGES,
    PORTS,
    PRIVATE,
    SERVERS,
    STATE,
    STATE_FOLDER,
    TOKENS,
    Choices,
    configurations,
)
from harness.errors import ScenarioError
from harness.mqtt_broker.mosquitto import access_list
from runtime.files import write_atomically, write_secret

Draw = Callable[[int], bytes]
"""So many bytes of chance."""

TOKEN_BYTES: Final = 32
GRAPH_USER: Final = "neo4j"
_START: Final = Path(__file__).with_name("mosquitto_start.sh")
_PAGES_VALID_FOR: Final = datetime.timedelta(days=397)
_RENEWED_BEFORE: Final = datetime.timedelta(days=30)
_CLOCK_SKEW: Final = datetime.timedelta(minutes=5)

# The rules of `harness.mqtt_broker`, as a configuration of its own: each client proves itself by a
# certificate, and is who that certificate says.
MOSQUITTO: Final = f"""\
listener {PORTS["broker"]} 0.0.0.0
cafile {PRIVATE}/certificates/ca.pem
certfile {PRIVATE}/certificates/own.pem
keyfile {PRIVATE}/certificates/own.key
crlfile {PRIVATE}/certificates/crl.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {PRIVATE}/access
persistence true
persistence_location {STATE}/
autosave_interval 30
max_queued_messages 0
max_inflight_messages 0
max_packet_size 262144
max_connections 20000
retain_available false
log_dest stderr
log_type error
log_type warning
log_type notice
"""


def set_up(root: Path, choices: Choices, draw: Draw, wall_us: int) -> list[str]:
    """Fill the folders below `root`; returns which secrets were made, in words.

    Raises `ScenarioError` where a folder is not there or cannot be written.
    """
    missing = [name for name in (*FOLDERS, STATE_FOLDER) if not (root / name).is_dir()]
    if missing:
        raise ScenarioError(f"{root} has no folder {missing[0]}: mount a volume for each container")
    try:
        made = _tokens(root, draw)
        for name in PAGES:
            made += _pages(root, name, wall_us)
        for holder in KNOWS_THE_ISSUER:
            certificate = (root / "identity" / "identity.pem").read_bytes()
            write_atomically(root / holder / "identity.pem", certificate)
        _broker(root / "broker")
        _provisioning_state(root / STATE_FOLDER)
        for name, config in configurations(choices).items():
            write_atomically(root / name / "config.json", msgspec.json.encode(config))
    except OSError as error:
        raise ScenarioError(f"cannot write to {error.filename or root}: {error.strerror}") from None
    return made


def _tokens(root: Path, draw: Draw) -> list[str]:
    made = []
    for name, holders in TOKENS.items():
        files = [root / holder / f"{name}.token" for holder in holders]
        found = next((file.read_bytes() for file in files if file.exists()), None)
        if found is None:
            found = _secret(name, draw)
            made.append(f"{name}.token")
        for file in files:
            if not file.exists():
                write_secret(file, found, sync=True)
    return made


def _secret(name: str, draw: Draw) -> bytes:
    text = draw(TOKEN_BYTES).hex()
    return (f"{GRAPH_USER}:{text}" if name == "graph" else text).encode()


def _broker(folder: Path) -> None:
    write_secret(folder / "access", access_list(Topics(), SERVERS).encode())
    write_atomically(folder / "mosquitto.conf", MOSQUITTO.encode())
    write_atomically(folder / "start.sh", _START.read_bytes())


def _provisioning_state(folder: Path) -> None:
    """Provisioning's directory of devices is where others read it, and nothing else of it is.

    SQLite follows the link, and has its log and its lock file beside the database itself.
    """
    link = folder / Path(DIRECTORY).name
    if not link.is_symlink():
        link.symlink_to(DIRECTORY)
    # A volume of its own is mounted there: it must not be made by whoever mounts it.
    (folder / "objects").mkdir(mode=0o700, exist_ok=True)


def _pages(root: Path, name: str, wall_us: int) -> list[str]:
    """The certificate of who serves over HTTPS, unless a good one is there.

    Whoever has one of an authority puts it in place of this one.
    """
    now = datetime.datetime.fromtimestamp(wall_us / 1e6, datetime.UTC)
    certificate, key = root / name / f"{name}.pem", root / name / f"{name}.key"
    if key.exists() and certificate.exists():
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        if now < found.not_valid_after_utc - _RENEWED_BEFORE:
            return []
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret(key, pem, sync=True)
    signed = _self_signed(private, PAGES[name], now).public_bytes(serialization.Encoding.PEM)
    write_atomically(certificate, signed, sync=True)
    return [key.name]


def _self_signed(
    private: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime.datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Lamplighter {names[-1]}")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _PAGES_VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def choices_from(environment: Mapping[str, str]) -> Choices:
    """What was chosen, from the variables of `docker-compose.yml`. Raises `ScenarioError`."""
    given = {
        field: environment[variable]
        for field, variable in VARIABLES.items()
        if environment.get(variable)
    }
    try:
        choices = msgspec.convert(given, Choices, strict=False)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{', '.join(VARIABLES.values())}: {error}") from None
    if not 1 <= choices.devices <= 100_000:
        raise ScenarioError(f"DEVICES={choices.devices}: choose 1 to 100,000")
    return choices


VARIABLES: Final[Mapping[str, str]] = {
    "devices": "DEVICES",
    "graph": "GRAPH",
    "taps": "TAPS",
    "dashboard_url": "DASHBOARD_URL",
}
