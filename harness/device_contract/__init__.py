"""Makes the vectors of docs/device_contract.md, and the table that lists them there."""

from harness.device_contract.exchanges import EXCHANGES, Exchange
from harness.device_contract.site import DeviceSide, Site, Step
from harness.device_contract.vectors import (
    COMMAND,
    FOLDER,
    PAGE,
    made_files,
    play,
    vectors_table,
    write_all,
)

__all__ = [
    "COMMAND",
    "EXCHANGES",
    "FOLDER",
    "PAGE",
    "DeviceSide",
    "Exchange",
    "Site",
    "Step",
    "made_files",
    "play",
    "vectors_table",
    "write_all",
]
