"""The vectors as files, and as a table of the page that tells of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.device_contract.credentials import MadeCredentials, stored_credentials
from harness.device_contract.exchanges import EXCHANGES, Exchange
from harness.device_contract.site import Site, Step

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "fixtures" / "device_contract"
PAGE: Final = ROOT / "docs" / "device_contract.md"
COMMAND: Final = "python -m harness.device_contract"
_BLOCK: Final = re.compile(r"(<!-- made: vectors -->\n).*?(<!-- end -->)", re.DOTALL)


def play(exchange: Exchange, made: MadeCredentials) -> list[Step]:
    """All datagrams of an exchange, in the order in which they were sent."""
    site = Site(1 + EXCHANGES.index(exchange), entry=exchange.entry, **dict(exchange.settings))
    exchange.play(site, made)
    return site.steps


def made_files(made: MadeCredentials) -> Mapping[str, str]:
    """The text of each file by its name."""
    return {f"{each.name}.json": _text(each, play(each, made)) for each in EXCHANGES}


def vectors_table() -> str:
    """The table of files for the page."""
    rows = [
        f"| [`{each.name}.json`](../fixtures/device_contract/{each.name}.json) | {each.about} |"
        for each in EXCHANGES
    ]
    return "\n".join(["| file | what |", "|---|---|", *rows])


def filled(page: str) -> str:
    """The page of the contract with its table made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{vectors_table()}\n\n{found[2]}", page)


def write_all() -> None:
    """Make all files, and the page's table, anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in made_files(stored_credentials(FOLDER)).items():
        (FOLDER / name).write_text(text)
    PAGE.write_text(filled(PAGE.read_text()))


def _text(exchange: Exchange, steps: list[Step]) -> str:
    found = {
        "name": exchange.name,
        "about": re.sub(r"\[(.*?)\]\(.*?\)", r"\1", exchange.about),
        "steps": [
            {
                "from": step.sender,
                "at_s": step.at_s,
                "bytes": step.data.hex(),
                "meaning": list(step.meaning),
            }
            for step in steps
        ],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
