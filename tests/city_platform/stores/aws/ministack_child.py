"""MiniStack beside the tests: an emulator of AWS that acts where moto only remembers.

Its rules fire, its functions run, its MQTT listener asks for certificates and keeps to IoT
policies, and with `AUTH=true` it keeps to IAM policies too. It lives in an environment of its own:
see `ministack_requirements.txt`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.bench.parent import die_with_parent
from tests.processes import end, line_of

ROOT: Final = Path(__file__).parents[4]
ACCOUNT: Final = "000000000000"
# The account's root: MiniStack checks neither its signature nor its rights.
ROOT_KEYS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
MISSING: Final = (
    "needs MiniStack in an environment of its own, `.ministack` or $LAMPLIGHTER_MINISTACK: see"
    " tests/city_platform/stores/aws/ministack_requirements.txt"
)


class MiniStack(NamedTuple):
    """A running one."""

    url: str
    mqtt: tuple[str, int]
    ca_file: Path


def ministack_python() -> Path | None:
    """The Python that has MiniStack, None where nobody installed it."""
    folder = Path(os.environ.get("LAMPLIGHTER_MINISTACK", ROOT / ".ministack"))
    python = folder / "bin/python"
    return python if python.exists() else None


@contextlib.contextmanager
def ministack(folder: Path, *, enforcing: bool = True) -> Iterator[MiniStack]:
    """MiniStack while the block runs, with nothing in it; `enforcing` makes it keep to policies."""
    python = ministack_python()
    assert python is not None, MISSING
    log = folder / "ministack.log"
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [python, Path(__file__).with_name("ministack_server.py")],
            # Nothing of ours: it must meet neither our packages nor our credentials.
            env={
                "AUTH": str(enforcing).lower(), "MINISTACK_REGION": "eu-central-1", **ROOT_KEYS,
                "PATH": os.environ.get("PATH", ""), "HOME": str(folder), "TMPDIR": str(folder),
            },
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=die_with_parent(),
        )  # fmt: skip
    try:
        yield _ready(child, folder, log)
    finally:
        end(child)


def _ready(child: subprocess.Popen[bytes], folder: Path, log: Path) -> MiniStack:
    try:
        told: dict[str, Any] = json.loads(line_of(child))
    except AssertionError as error:
        raise AssertionError(f"MiniStack did not start: {log.read_text()[-2_000:]}") from error
    ca_file = folder / "ca.pem"
    # urllib's proxies are for elsewhere.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ca_file.write_bytes(opener.open(f"{told['url']}/_ministack/iot/ca.pem").read())
    host, port = told["mqtt"]
    return MiniStack(told["url"], (host, port), ca_file)
