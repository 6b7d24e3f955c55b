"""The errors a contract raises when the other side broke it."""

from __future__ import annotations


class ContractError(ValueError):
    """A message, a name or a file does not keep to its contract; the text says where and how."""


class UnsupportedVersion(ContractError):
    """The message has a newer major version than this code knows."""

    def __init__(self, what: str, found: int, known: int) -> None:
        super().__init__(f"{what} has version {found}, this side knows up to {known}: upgrade it")
        self.found = found
        self.known = known
