"""What numbers and times may be in a pack: the same for each way to read one."""

from __future__ import annotations

from typing import Final

# RFC 8428 §4.5.3: smaller times are relative to the reader's; the upper end is far from overflow.
TIME_MIN: Final = 2.0**28
TIME_MAX: Final = 2.0**33
FOREVER_US: Final = 2**63
# Stores take integers of 64 bits with a sign.
INT64_BOUND: Final = 2**63
