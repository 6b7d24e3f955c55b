"""Where sign-ins come from, and what each address may still get wrong. Pure; bounded in memory.

An address has so many wrong passwords for all names together, and gets them back with time: whoever
tries one password on many names is held up by it, as one who tries many on one name is by the name.
Nothing of this outlives the process: what must is counted by name.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from city_platform.identity.config import AddressBudget

# A provider gives each customer a network of this size at least (RFC 6177), and whoever has one can
# come from any of its addresses.
IPV6_PREFIX_BITS: Final = 64
# At 19 ms a password, 10,000 addresses take more than three minutes to be counted: one that is
# forgotten has got most of its budget back.
ADDRESSES_KEPT: Final = 10_000
_TEXT_LENGTH_MAX: Final = 64


def counted_address(text: str) -> str | None:
    """What an address is counted as: itself, of IPv6 its /64; None when the text is no address."""
    try:
        found = ip_address(text if len(text) <= _TEXT_LENGTH_MAX else "")
    except ValueError:
        return None
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), IPV6_PREFIX_BITS), strict=False))


class Addresses:
    """What has come from each address. Times are monotonic nanoseconds."""

    def __init__(
        self, budget: AddressBudget, familiar_s: float, kept_max: int = ADDRESSES_KEPT
    ) -> None:
        self._each_ns = int(budget.each_s * 1e9)
        self._free_ns = budget.wrong_free * self._each_ns
        self._familiar_ns = int(familiar_s * 1e9)
        self._kept_max = kept_max
        # When the budget of an address is whole again; each wrong password moves it on.
        self._whole_at_ns: OrderedDict[str, int] = OrderedDict()
        self._familiar_until_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._whole_at_ns) + len(self._familiar_until_ns)

    def wait_s(self, address: str, now_ns: int) -> float:
        """How long until a further wrong password is free; 0 when one is."""
        spent_ns = max(0, self._whole_at_ns.get(address, 0) - now_ns)
        return max(0, spent_ns + self._each_ns - self._free_ns) / 1e9

    def is_familiar(self, address: str, now_ns: int) -> bool:
        """Whether somebody has signed in from there, and not too long ago."""
        return self._familiar_until_ns.get(address, 0) > now_ns

    def count(self, address: str, is_right: bool, now_ns: int) -> None:
        """A password from there was looked at. A right one gives no budget back: who has one
        account could try all others between two sign-ins of their own."""
        if is_right:
            self._put(self._familiar_until_ns, address, now_ns + self._familiar_ns)
        else:
            begin_ns = max(now_ns, self._whole_at_ns.get(address, 0))
            self._put(self._whole_at_ns, address, begin_ns + self._each_ns)

    def _put(self, kept: OrderedDict[str, int], address: str, until_ns: int) -> None:
        kept[address] = until_ns
        kept.move_to_end(address)
        if len(kept) > self._kept_max:
            kept.popitem(last=False)
