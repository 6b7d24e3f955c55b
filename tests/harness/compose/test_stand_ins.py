"""The images for tests are stand-ins for those that `docker-compose.yml` names, and say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.compose.stand_ins import DEBIAN, STAND_INS

ROOT = Path(__file__).parents[3]
IMAGES = Path(__file__).parent / "images"


def test_there_is_one_for_each_image_that_is_not_ours() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+_IMAGE):", text)) - {"LAMPLIGHTER_IMAGE"} == set(STAND_INS)


@pytest.mark.parametrize("image", sorted(STAND_INS.values()))
def test_none_can_be_taken_for_an_official_one(image: str) -> None:
    assert image.startswith("lamplighter-test/")
    name = image.removeprefix("lamplighter-test/").partition(":")[0]
    text = (IMAGES / f"{name}.Dockerfile").read_text()
    assert text.startswith("# For tests alone:")
    assert f"ARG DEBIAN_IMAGE={DEBIAN}\n" in text


def test_neo4js_has_what_the_compose_file_expects_of_the_official_one() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    text = (IMAGES / "neo4j.Dockerfile").read_text()
    assert "exec /startup/docker-entrypoint.sh neo4j" in compose
    assert "/startup/docker-entrypoint.sh" in text
    assert "NEO4J_HOME=/var/lib/neo4j" in text
    assert "VOLUME /data /logs" in text
