"""Writes a district's manifest to standard output: `python -m fake_devices.city [COUNT [SEED]]`."""

from __future__ import annotations

import sys

from fake_devices.city import HARBOUR, generate, write_manifest

FIXTURE_DEVICES = 1_200
FIXTURE_SEED = 20_261_120


def main(arguments: list[str]) -> None:
    """Write the committed fixture, or as many devices with as other a seed as asked."""
    count = int(arguments[0]) if arguments else FIXTURE_DEVICES
    seed = int(arguments[1]) if len(arguments) > 1 else FIXTURE_SEED
    sys.stdout.buffer.write(write_manifest(generate(HARBOUR, seed, 0, count)))


if __name__ == "__main__":
    main(sys.argv[1:])
