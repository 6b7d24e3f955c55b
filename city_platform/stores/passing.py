"""What goes wrong with a disk or a database and goes right again by itself: nobody is to end of it.

A lock that another program holds, a disk that is full or takes no writes. What is wrong with a
statement, or with us, is none of it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

RETRY_S: Final = 2.0
_DISK: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE}
)
_log = logging.getLogger(__name__)


def is_passing(error: BaseException) -> bool:
    """Whether it is of the disk or a lock, and may be tried again as it was."""
    if isinstance(error, OSError):
        return error.errno in _DISK
    return isinstance(error, sqlite3.OperationalError)


async def keep_running(run: Callable[[], Awaitable[None]], what: str) -> None:
    """Run a component's loop, again when it ended of what passes. Raises everything else."""
    while True:
        try:
            await run()
        except (OSError, sqlite3.OperationalError) as error:
            if not is_passing(error):
                raise
            _log.warning("%s stands still, again in %.0f s: %s", what, RETRY_S, error)
            await asyncio.sleep(RETRY_S)
        else:
            return
