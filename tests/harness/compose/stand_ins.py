"""Images for trying `docker-compose.yml` where no registry of images can be reached, as root:

    python -m tests.harness.compose.stand_ins > stand_ins.env
    set -a; . ./stand_ins.env; set +a

They are stand-ins for the official ones of Python, Mosquitto and Neo4j, for tests alone: Debian by
debootstrap, with its own packages, and Neo4j of the jars that Maven Central has. What is there
already is not made again; `docker rmi` of an image has it made anew.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.city_platform.graph import fetch_neo4j

DEBIAN: Final = "lamplighter-test/debian:bookworm"
# By the variable of `docker-compose.yml` that names it.
STAND_INS: Final[Mapping[str, str]] = {
    "PYTHON_IMAGE": "lamplighter-test/python:3.11",
    "MOSQUITTO_IMAGE": "lamplighter-test/mosquitto:2.0",
    "NEO4J_IMAGE": "lamplighter-test/neo4j:5",
}
_FILES: Final = Path(__file__).parent / "images"
# Whom this machine trusts: Debian's own list, and what its owner has added.
_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
_MADE_WITHIN_S: Final = 1_800


class ImageMissing(Exception):
    """An image cannot be made here; the text says why."""


def make_all() -> None:
    """Make those that are not there. Raises `ImageMissing`."""
    for tool in ("docker", "debootstrap"):
        if shutil.which(tool) is None:
            raise ImageMissing(f"no {tool} on this machine: install it (Debian has both)")
    if not _is_there(DEBIAN):
        _make_debian()
    for image in STAND_INS.values():
        if not _is_there(image):
            name = image.removeprefix("lamplighter-test/").partition(":")[0]
            _build(image, name)


def _make_debian() -> None:
    with tempfile.TemporaryDirectory(prefix="lamplighter-debian-") as folder:
        root = Path(folder) / "root"
        _run(["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root])
        archive = Path(folder) / "root.tar"
        _run(["tar", "-C", root, "--exclude=./var/cache/apt/archives/*.deb", "-cf", archive, "."])
        _run(["docker", "import", archive, DEBIAN])


def _build(image: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f"lamplighter-{name}-") as context:
        for file in _FILES.glob(f"{name}[._]*"):
            shutil.copy(file, context)
        if name == "python":
            shutil.copy(_AUTHORITIES, Path(context) / "authorities.pem")
        if name == "neo4j":
            _take_jars(Path(context) / "lib")
        dockerfile = f"{context}/{name}.Dockerfile"
        # The host's network: that of a build reaches no name server on every machine.
        how = ["--network=host", f"--build-arg=DEBIAN_IMAGE={DEBIAN}", f"--tag={image}"]
        _run(["docker", "build", *how, f"--file={dockerfile}", context])


def _take_jars(lib: Path) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        failed = fetch_neo4j.main()
    if failed:
        raise ImageMissing("without its jars there is no Neo4j")
    shutil.copytree(fetch_neo4j.folder() / "lib", lib)


def _is_there(image: str) -> bool:
    asked = subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False
    )
    return asked.returncode == 0


def _run(command: Sequence[str | Path]) -> None:
    # What it says goes to standard error: standard output is for whoever reads the names.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=2, timeout=_MADE_WITHIN_S, check=False
    )
    if done.returncode:
        raise ImageMissing(f"{command[0]} {command[1]} failed ({done.returncode}): see above")


def main() -> int:
    """Make the images, and print how `docker-compose.yml` is told of them."""
    try:
        make_all()
    except ImageMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for variable, image in STAND_INS.items():
        sys.stdout.write(f"{variable}={image}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
