"""The platform's command line: one component by name, its configuration checked."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from city_platform.__main__ import COMPONENTS, main
from tests.processes import WITHIN_S


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_has_a_coroutine_and_a_configuration(name: str) -> None:
    place = COMPONENTS[name]
    module = import_module(place.module)
    assert callable(module.run)
    assert issubclass(getattr(module, place.config), msgspec.Struct)


def test_a_wrong_configuration_is_one_line_and_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"server": 17}')
    assert main(["bridge", "--config", str(wrong)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["bridge", "--config", str(tmp_path / "absent.json")]) == 3
    assert "absent.json" in capsys.readouterr().err


def test_an_unknown_component_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["weather", "--config", "x"])
    assert "provisioning" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("bridge", ("starlette", "sqlite3", "joserfc", "pydantic", "amqtt")),
        ("bootstrap", ("joserfc", "pydantic", "amqtt", "city_platform.control")),
        ("control", ("pydantic", "amqtt", "city_platform.bootstrap", "city_platform.sealing")),
    ],
)
def test_a_component_pays_only_for_what_it_uses(name: str, unwanted: tuple[str, ...]) -> None:
    program = (
        f"import sys, {COMPONENTS[name].module}; "
        f"print([one for one in {unwanted!r} if one in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_S,
    ).stdout
    assert printed.strip() == "[]"
