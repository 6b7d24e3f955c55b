"""What can go wrong with AWS.

AwsError
├── AwsRefused          the account or the call is wrong: nothing is gained by trying again
├── AwsUnavailable      throttled, failed or silent for as long as a call may take (an OSError too)
├── StoreTaken          another process has taken the store over
└── RecordTooLarge      no delivery stream takes it (stream_batches)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AwsError(Exception):
    """A call to AWS did not do what it should."""


class AwsRefused(AwsError):
    """AWS said no. `code` is its word for it; the text has neither keys nor payloads."""

    def __init__(self, service: str, operation: str, code: str, message: str) -> None:
        super().__init__(f"AWS {service} refused {operation}: {code}: {message[:300]}")
        self.code = code
        # All that AWS answered; a conditional write's old item is in it.
        self.details: Mapping[str, Any] = {}


class AwsUnavailable(AwsError, OSError):
    """No answer in time. The caller may try again: what it asked for may or may not have been
    done."""


class StoreTaken(AwsError):
    """Another process opened the same store after this one: this one must end."""
