"""The reference pages say what the code does: their tables, routes, operations and limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from city_platform.control.requests import FORMS
from city_platform.control.states import TRANSITIONS, occurrence_of
from city_platform.provisioning.config import ProvisioningConfig
from contracts.data_interface import Outcome, ResultError
from harness.reference_pages import (
    COMMAND,
    OUTCOME_STAGES,
    PAGES,
    block_names,
    filled,
    golden_examples,
    make_blocks,
)

ROOT = Path(__file__).parents[2]
INTERFACES, MANIFEST = (ROOT / page for page in PAGES)
HTTP_MODULES = (
    "city_platform/provisioning/api.py",
    "city_platform/provisioning/search_routes.py",
    "city_platform/provisioning/certificate_routes.py",
    "city_platform/identity/routes.py",
    "city_platform/audit/routes.py",
    "city_platform/control/routes.py",
    "city_platform/control/group_routes.py",
    "city_platform/bridge_status/routes.py",
    "city_platform/ingestion/api.py",
    "city_platform/ingestion/alarm_routes.py",
    "city_platform/ingestion/dead_letter_routes.py",
    "city_platform/ingestion/state_routes.py",
    "city_platform/ingestion/telemetry_routes.py",
    "city_platform/ingestion/upkeep.py",
    "city_platform/bootstrap/component.py",
    "city_platform/dashboard/session_routes.py",
    "city_platform/dashboard/oidc_routes.py",
    "city_platform/dashboard/map_routes.py",
    "city_platform/dashboard/device_routes.py",
    "city_platform/dashboard/import_routes.py",
    "city_platform/dashboard/bridge_routes.py",
    "city_platform/dashboard/live.py",
    "city_platform/dashboard/component.py",
    "city_platform/counts_http.py",
    "harness/lwm2m_server/admin.py",
    "harness/lwm2m_server/oscore_admin.py",
    "harness/lwm2m_server/security_admin.py",
    "harness/bootstrap_server/admin.py",
)
_ROUTE = re.compile(
    r'Route\(\s*"([^"]+)",\s*[\w.]+(?:\([\w.]+\))?(?:,\s*methods=\["([A-Z]+)"\])?,?\s*\)'
)
_ROUTE_ON_PAGE = re.compile(r"^\| `([A-Z]+) (/[^`?]*)[^`]*`", re.MULTILINE)


@pytest.mark.parametrize("page", [INTERFACES, MANIFEST], ids=lambda page: page.name)
def test_a_reference_page_is_not_stale(page: Path) -> None:
    text = page.read_text()
    assert text == filled(text, make_blocks(golden_examples)), f"{COMMAND} writes it"


def test_every_block_is_on_one_page_once() -> None:
    found = [name for page in (INTERFACES, MANIFEST) for name in block_names(page.read_text())]
    assert sorted(found) == sorted(make_blocks(golden_examples))


def test_a_block_is_made_anew_and_the_text_around_it_stays() -> None:
    page = "before\n<!-- made: topics -->\nold\n<!-- end -->\nafter\n"
    made = "before\n<!-- made: topics -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert filled(page, {"topics": "new"}) == made
    assert filled(made, {"topics": "new"}) == made


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(KeyError, match="colours"):
        filled("<!-- made: colours -->\n<!-- end -->\n", {})


def test_the_page_has_every_route_and_no_other() -> None:
    served = {
        (method or "GET", path)
        for module in HTTP_MODULES
        for path, method in _ROUTE.findall((ROOT / module).read_text())
    }
    assert set(_ROUTE_ON_PAGE.findall(INTERFACES.read_text())) == served


def test_every_route_is_read_from_the_code() -> None:
    for module in HTTP_MODULES:
        text = (ROOT / module).read_text()
        assert len(_ROUTE.findall(text)) == len(re.findall(r"\bRoute\(", text)), module


def test_no_other_module_serves_http() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for package in ("city_platform", "harness", "runtime", "fake_devices")
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"\bRoute\(", file.read_text())
    }
    assert found == set(HTTP_MODULES)


@pytest.mark.parametrize("operation", sorted(FORMS))
def test_an_operation_of_the_control_api_has_its_levels_on_the_page(operation: str) -> None:
    form = {str(name): form for name, form in FORMS.items()}[operation]
    least, most = form.levels_min, form.levels_max
    levels = str(least) if least == most else f"{least} to {most}"
    row = re.search(
        rf"^\| `{operation}` \| {levels} \| (.+) \| (.+) \|$", INTERFACES.read_text(), re.MULTILINE
    )
    assert row is not None
    assert [cell != "no" for cell in row.groups()] == [form.has_values, form.has_arguments]


@pytest.mark.parametrize("stage", sorted(OUTCOME_STAGES))
def test_an_outcome_moves_its_command_to_the_state_that_the_page_names(stage: str) -> None:
    (known,) = [name for name in OUTCOME_STAGES if name == stage]
    outcome = Outcome(id="c1", operation="read", error=ResultError(known, "detail"))
    assert TRANSITIONS["delivered"][occurrence_of(outcome)] == OUTCOME_STAGES[known][1]


def test_the_limits_of_an_import_are_those_of_the_configuration() -> None:
    text, limits = MANIFEST.read_text(), ProvisioningConfig(state_dir="", token_file="")
    for told in (
        f"{limits.upload_bytes_max // 2**20} MiB (`upload_bytes_max`)",
        f"{limits.rows_max:,} (`rows_max`)",
        f"{limits.row_bytes_max:,} bytes (`row_bytes_max`)",
        f"{limits.imports_waiting_max} (`imports_waiting_max`)",
    ):
        assert told in text
