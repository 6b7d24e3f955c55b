"""What is made before the first start: everybody's configuration, and secrets without a default."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from city_platform.__main__ import COMPONENTS
from harness.compose.city import CityConfig
from harness.compose.installation import (
    CLIENTS,
    FOLDERS,
    KNOWS_THE_ISSUER,
    PORTS,
    SERVERS,
    STATE_FOLDER,
    TOKENS,
    Choices,
    configurations,
)
from harness.compose.setup import choices_from, set_up
from harness.compose.standing_bench import JobConfig
from harness.errors import ScenarioError
from harness.lwm2m_server.config import ServerConfig

NOW_US = 1_780_000_000_000_000
MONTH_US = 30 * 86_400 * 1_000_000


def drawn() -> object:
    count = itertools.count(1)
    return lambda size: next(count).to_bytes(size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*FOLDERS, STATE_FOLDER):
        (tmp_path / name).mkdir()
    return tmp_path


def prepare(root: Path, choices: Choices | None = None, now_us: int = NOW_US) -> list[str]:
    draw = drawn()
    assert callable(draw)
    return set_up(root, choices or Choices(), draw, now_us)


def config_kind(folder: str) -> type[msgspec.Struct]:
    from importlib import import_module

    if folder in SERVERS:
        return ServerConfig
    if folder in ("city", "job"):
        return {"city": CityConfig, "job": JobConfig}[folder]
    place = COMPONENTS["bridge" if folder.startswith("bridge") else folder]
    found: type[msgspec.Struct] = getattr(import_module(place.module), place.config)
    return found


@pytest.mark.parametrize("choices", [Choices(), Choices(graph="embedded", taps=True)])
@pytest.mark.parametrize("folder", sorted(configurations(Choices())))
def test_configurations_are_ones_that_components_take(
    root: Path, folder: str, choices: Choices
) -> None:
    prepare(root, choices)
    data = (root / folder / "config.json").read_bytes()
    assert msgspec.json.decode(data, type=config_kind(folder))


def test_a_secret_is_with_those_alone_that_need_it(root: Path) -> None:
    prepare(root)
    for name, holders in TOKENS.items():
        found = {path.parent.name: path.read_bytes() for path in root.glob(f"*/{name}.token")}
        assert set(found) == set(holders)
        assert len(set(found.values())) == 1
    assert len({path.read_bytes() for path in root.glob("*/*.token")}) == len(TOKENS)


def test_what_configurations_name_is_there(root: Path) -> None:
    prepare(root)
    for folder, config in configurations(Choices(taps=True)).items():
        for text in strings(config):
            name = text.removeprefix("/private/")
            if name != text and not name.startswith("certificates"):
                assert (root / folder / name).exists(), f"{folder}: {text}"


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


def test_nobody_else_can_read_a_secret(root: Path) -> None:
    prepare(root)
    for path in [*root.glob("*/*.token"), *root.glob("*/*.key"), root / "broker" / "access"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_start_draws_nothing_and_changes_nothing(root: Path) -> None:
    assert prepare(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert prepare(root) == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_folder_that_was_lost_is_made_again_with_the_same_secrets(root: Path) -> None:
    prepare(root)
    before = (root / "dashboard" / "dashboard_changes.token").read_bytes()
    for path in (root / "dashboard").iterdir():
        path.unlink()
    assert prepare(root) == ["dashboard.token", "dashboard.key"]
    assert (root / "dashboard" / "dashboard_changes.token").read_bytes() == before


def test_configurations_follow_what_is_chosen_later(root: Path) -> None:
    prepare(root)
    before = (root / "provisioning" / "config.json").read_bytes()
    assert b"graph_uri" in before
    prepare(root, Choices(graph="embedded"))
    assert b"graph_uri" not in (root / "provisioning" / "config.json").read_bytes()


def test_the_issuers_certificate_is_known_by_who_fetches_its_keys(root: Path) -> None:
    prepare(root)
    own = (root / "identity" / "identity.pem").read_bytes()
    assert {(root / name / "identity.pem").read_bytes() for name in KNOWS_THE_ISSUER} == {own}
    certificate = x509.load_pem_x509_certificate(own)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["identity"]


def test_a_certificate_of_the_pages_is_made_anew_before_it_ends(root: Path) -> None:
    prepare(root)
    assert prepare(root, now_us=NOW_US + MONTH_US) == []
    assert prepare(root, now_us=NOW_US + 13 * MONTH_US) == ["dashboard.key", "identity.key"]


def test_mosquitto_takes_nobody_without_a_certificate_of_ours(root: Path) -> None:
    prepare(root)
    lines = (root / "broker" / "mosquitto.conf").read_text().splitlines()
    assert f"listener {PORTS['broker']} 0.0.0.0" in lines
    for wanted in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "crlfile /private/certificates/crl.pem",
        "acl_file /private/access",
    ):
        assert wanted in lines
    assert "allow_anonymous true" not in lines


def test_mosquittos_access_list_names_everybody_who_connects(root: Path) -> None:
    prepare(root)
    access = (root / "broker" / "access").read_text()
    for identity in CLIENTS.values():
        assert f"user {identity}\n" in access
    assert "pattern write devices/%u/state\n" in access


def test_the_devices_directory_is_where_others_find_it(root: Path) -> None:
    prepare(root)
    prepare(root)
    assert str((root / STATE_FOLDER / "devices.sqlite").readlink()) == "/directory/devices.sqlite"


def test_a_missing_volume_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="has no folder audit: mount a volume"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"DEVICES": "many"}, "DEVICES, GRAPH"),
        ({"DEVICES": "0"}, "choose 1 to 100,000"),
        ({"GRAPH": "postgres"}, "DEVICES, GRAPH"),
        ({"TAPS": "perhaps"}, "DEVICES, GRAPH"),
    ],
)
def test_variables_that_cannot_be_are_told(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        choices_from(environment)


def test_variables_that_are_not_set_leave_the_defaults() -> None:
    assert choices_from({"DEVICES": "", "HOME": "/"}) == Choices()
    assert choices_from({"DEVICES": "7", "TAPS": "true"}) == Choices(devices=7, taps=True)
