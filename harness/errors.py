"""Whose fault it is.

LamplighterError
├── ScenarioError    the script, an option or an input file is wrong: the user can mend it
├── HarnessError     we are: a bench that did not come up, a process that died, a tap that broke
│   └── BenchFailed
└── PeerError        the other side broke its protocol
"""

from __future__ import annotations


class LamplighterError(Exception):
    """The root of all errors that the command line turns into one line and exit 3."""


class ScenarioError(LamplighterError):
    """The script, an option or an input is wrong; the text says what to do."""


class HarnessError(LamplighterError):
    """The bench itself is at fault."""


class BenchFailed(HarnessError):
    """A process did not become ready, or ended without being asked to."""


class PeerError(LamplighterError):
    """The other side broke the protocol."""
