"""Claims about firmware for many devices at once: every package arrives whole, and is run."""

from __future__ import annotations

from contracts.load import FirmwareOffered, FirmwareTaken, OperationEnded
from contracts.report import Evidence
from harness.checks.verdict import Claim, Verdict
from harness.journal import Journal

STATE_PATH = "/5/0/3"
VERSION_PATH = "/3/0/3"

_TAKEN = Claim(
    "every_image_is_the_one_that_was_offered",
    "Every device that is offered a package, by push or by pull, takes it once and whole: its "
    "size and SHA-256 are those of what was offered.",
)


def every_image_is_the_one_that_was_offered(journal: Journal) -> Verdict:
    """What each device received, against what it was offered."""
    offers = journal.of(FirmwareOffered)
    if not offers:
        return _TAKEN.inconclusive("no firmware was offered")
    taken: dict[str, list[FirmwareTaken]] = {}
    for each in journal.of(FirmwareTaken):
        taken.setdefault(each.endpoint, []).append(each)
    faults = []
    for offer in offers:
        found = taken.get(offer.endpoint, [])
        observed = _fault(offer, found)
        if observed is not None:
            faults.append(
                Evidence(
                    endpoint=offer.endpoint,
                    observed=f"{offer.way}: {observed}",
                    expected=f"{offer.package_bytes:,} bytes, {offer.sha256[:16]}…",
                    at_s=journal.since_start_s(found[0].at_ns if found else offer.at_ns),
                )
            )
    ways = {way: sum(o.way == way for o in offers) for way in ("push", "pull")}
    sizes = sum(offer.package_bytes for offer in offers)
    return _TAKEN.judge(
        faults,
        good=f"{ways['push']:,} pushed and {ways['pull']:,} pulled, {sizes / 1e6:.1f} MB, each "
        "with its own digest right",
        bad=f"{len(faults):,} of {len(offers):,} devices have another image, or none",
    )


def _fault(offer: FirmwareOffered, found: list[FirmwareTaken]) -> str | None:
    if not found:
        return "took no package"
    if len(found) > 1:
        return f"took {len(found)} packages"
    if found[0].sha256 != offer.sha256 or found[0].package_bytes != offer.package_bytes:
        return f"{found[0].package_bytes:,} bytes, {found[0].sha256[:16]}…"
    return None


_RUNS = Claim(
    "every_device_runs_its_new_firmware",
    "Every device that was offered a package and told to install it says afterwards that its "
    f"firmware ({VERSION_PATH}) is the new one.",
)


def every_device_runs_its_new_firmware(journal: Journal) -> Verdict:
    """The last read of each device's version."""
    offered = {each.endpoint for each in journal.of(FirmwareOffered)}
    if not offered:
        return _RUNS.inconclusive("no firmware was offered")
    reads: dict[str, OperationEnded] = {
        each.endpoint: each
        for each in journal.of(OperationEnded)
        if each.path == VERSION_PATH and each.expected is not None
    }
    faults = []
    for endpoint in sorted(offered):
        read = reads.get(endpoint)
        if read is None or read.value != read.expected:
            faults.append(
                Evidence(
                    endpoint=endpoint,
                    observed="was not asked" if read is None else f"says {read.value!r}",
                    expected="its new version" if read is None else f"{read.expected!r}",
                )
            )
    return _RUNS.judge(
        faults,
        good=f"all {len(offered):,} devices run it",
        bad=f"{len(faults):,} of {len(offered):,} devices do not",
    )
