"""A target file says where the platform keeps its data, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.target import load_target, stores_of_run
from harness.errors import ScenarioError

AWS = '[stores]\nkind = "aws"\nregion = "r"\nbucket = "b"\nname = "city"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "aws.toml"
    file.write_text(text)
    return file


def test_each_run_has_tables_and_a_prefix_of_its_own(tmp_path: Path) -> None:
    target = load_target(written(tmp_path, AWS))
    stores = stores_of_run(target, "20261121T1-block/1")
    assert stores["name"] == "city-20261121T1-block-1"
    assert stores["prefix"] == "city-20261121T1-block-1/"
    assert stores["bucket"] == "b"


def test_without_a_target_the_stores_are_embedded() -> None:
    assert stores_of_run(None, "run") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[stores", "needs"),
        ('[stores]\nkind = "azure"\n', "embedded"),
        (AWS + 'aws_secret_access_key = "x"\n', "environment or a profile"),
        (AWS + '[stores.limits]\npassword = "x"\n', "environment or a profile"),
        ("other = 1\n", "needs"),
    ],
)
def test_a_wrong_target_is_refused_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        load_target(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="No such file"):
        load_target(tmp_path / "none.toml")
