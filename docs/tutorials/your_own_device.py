"""An air monitor for one room: joins a platform, obeys and reports, in 40 lines."""

import math
import sys
import time

from fake_devices import kit

server, endpoint, key_file = sys.argv[1:4]
device = kit.Device(endpoint, report_every_s=2.0)


def temperature() -> float:
    """Here a real device would ask its sensor."""
    return round(22.0 + 4.0 * math.sin(time.time() / 30.0), 2)


def humidity() -> float:
    return round(45.0 + 10.0 * math.cos(time.time() / 50.0), 1)


device.add("/3303/0", {5700: temperature, 5701: "Cel", 5750: "room 17"}, reports=[5700])
device.add("/3304/0", {5700: humidity, 5701: "%RH"}, reports=[5700])
device.bind("/3/0/1", "AM-40")
device.alarm("too_warm", "/3303/0/5700", lambda celsius: celsius > 25.0, severity="major")


@device.on_write("/3303/0/5750")
def renamed(value: object) -> None:
    print(f"this is now {value}", flush=True)


@device.on_execute("/3303/0/5605")
def reset_extremes(arguments: dict[int, str | None]) -> None:
    print("the lowest and highest values were reset", flush=True)


device.on_connected(lambda: print("connected: reports begin", flush=True))
device.run(server, psk_file=key_file)
