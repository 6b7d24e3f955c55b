"""Profiles: object lists that a device names by an id in place of sending them (LwM2M 1.2, `pid`).

The standard defines no input of the hash in an id, so that ids are opaque here: configuration says
which object list each stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lwm2m.coap import codes
from lwm2m.codecs import link_format
from lwm2m.errors import RegistrationRefused


class Profiles:
    """Object lists in link format, by profile id. Raises `MalformedLinkFormat` for one that is
    none."""

    def __init__(self, links_of: Mapping[str, str]) -> None:
        self._links_of = {name: links.encode() for name, links in links_of.items()}
        for links in self._links_of.values():
            link_format.decode(links)

    def merged(self, profile_ids: Sequence[str], payload: bytes) -> bytes:
        """The object list of the profiles together with what the Register itself lists.

        Raises `RegistrationRefused` (4.09) for a profile that is not known.
        """
        lists = []
        for name in profile_ids:
            if name not in self._links_of:
                raise RegistrationRefused(
                    codes.CONFLICT, "unknown_profile", f"no profile {name[:40]!r}: list the objects"
                )
            lists.append(self._links_of[name])
        return b",".join(links for links in (*lists, payload) if links)
