"""The bootstrap server of the emulator: LwM2M Core §6.1, configured by file and by API.

`python -m harness.bootstrap_server --config FILE`.
"""

from harness.bootstrap_server.config import BootstrapServerConfig
from harness.bootstrap_server.entries import AccountEntry, BootstrapEntry
from harness.bootstrap_server.shell import run

__all__ = ["AccountEntry", "BootstrapEntry", "BootstrapServerConfig", "run"]
