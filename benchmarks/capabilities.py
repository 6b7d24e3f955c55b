"""Which figure of which benchmark answers for which capability, and the bar that it has to meet.

A figure is found in a line by its path: names, and numbers in lists, with dots between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Line = Mapping[str, Any]


class Figure(NamedTuple):
    """One figure. `least` or `most` is its bar; `only` says for which lines there is one.

    `ratio` is the path of how it compares, told as `than`.
    """

    what: str
    path: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    ratio: str = ""
    than: str = ""
    only: Callable[[Line], bool] | None = None


class Capability(NamedTuple):
    """One table of the page, of all lines of `benchmark`; `setting` names the line's own fields
    that its rows begin with."""

    title: str
    benchmark: str
    setting: tuple[str, ...]
    figures: tuple[Figure, ...]


def _broker(name: str, security: str | None = None) -> Callable[[Line], bool]:
    return lambda line: (
        line.get("broker") == name
        and (security is None or line.get("security", "none") == security)
    )


def _is_as_fast_as_can_be(line: Line) -> bool:
    """Registrations that no rate of arrivals held back: compared with others' in the same run."""
    return "times_aiocoap" in line


def _onboards(name: str, security: str) -> Callable[[Line], bool]:
    """Bootstrapped as fast as can be, and not online as well, for which the run was then."""
    is_of = _broker(name, security)
    return lambda line: is_of(line) and value_at(line, _ONLINE) is None and not _is_at_a_share(line)


def _is_at_a_share(line: Line) -> bool:
    """Offered a share of the rate that was sustained before: for the latency."""
    return "share_of_per_s" in line


_ONBOARDED = "stages.bootstrapped.per_s"
_ONLINE = "stages.online.per_s"
_PER_S = "bootstrapped"
_ONLINE_WHAT = "online: first reading stored"
CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        "CoAP core against aiocoap",
        "coap_core",
        ("outstanding", "objects"),
        (
            Figure(
                "Register exchanges", "ours.exchanges_per_s", "/s",
                ratio="times_as_fast", than="aiocoap's rate",
            ),
            Figure(
                "CPU of both ends, an exchange", "ours.cpu_us", "µs", most=50,
                ratio="times_less_cpu", than="less than aiocoap",
            ),
            Figure("times less CPU than aiocoap", "times_less_cpu", "×", least=15),
        ),
    ),
    Capability(
        "Registrations through the LwM2M server",
        "registrations",
        ("devices",),
        (
            Figure(
                "Registers, every event delivered", "register.per_s_with_events", "/s", 20_000,
                only=_is_as_fast_as_can_be,
            ),
            # Of 10,000 offered: the last of them are there when the last event is not.
            Figure(
                "Registers of those offered", "register.per_s", "/s", 9_900,
                only=lambda line: not _is_as_fast_as_can_be(line),
            ),
            Figure("times the aiocoap pair's rate, answered", "times_aiocoap", "×", least=15),
            Figure(
                "times the aiocoap pair's rate, every event delivered",
                "times_aiocoap_with_events", "×", least=15,
            ),
            Figure("p99 of a Register", "register.p99_ms", "ms"),
            Figure("Updates, every event delivered", "update.per_s_with_events", "/s"),
            Figure("gaps in the events", "events.gaps", "", most=0),
            Figure("server's memory", "server_rss_mb", "MB"),
            Figure("Leshan's server, warm: Registers", "leshan.register.per_s", "/s"),
            Figure("Leshan's server: memory", "leshan.server_rss_mb", "MB"),
        ),
    ),
    Capability(
        "Onboarding: power-on to the last write of the credentials",
        "onboarding",
        ("broker", "security", "devices", "offered_per_s"),
        (
            Figure(_PER_S, _ONBOARDED, "/s", 800, only=_onboards("embedded", "none")),
            Figure(_PER_S, _ONBOARDED, "/s", 2_000, only=_onboards("mosquitto", "none")),
            Figure(_PER_S, _ONBOARDED, "/s", 500, only=_onboards("embedded", "psk")),
            Figure(_PER_S, _ONBOARDED, "/s", 1_200, only=_onboards("mosquitto", "psk")),
            Figure(_ONLINE_WHAT, _ONLINE, "/s", 250, only=_broker("embedded", "none")),
            Figure(_ONLINE_WHAT, _ONLINE, "/s", 450, only=_broker("mosquitto", "none")),
            Figure(
                "p99 from registered, at 70 % of the sustained rate",
                "registered_to_bootstrapped_p99_ms", "ms", most=150, only=_is_at_a_share,
            ),
            Figure("p99 from power-on", "stages.bootstrapped.p99_ms", "ms"),
            Figure("loader's lag, p99", "loader_lag_p99_ms", "ms"),
        ),
    ),
    Capability(
        "Reconnects: all cut off at once, back when a pack of each is stored",
        "reconnects",
        ("broker", "devices"),
        (
            Figure(
                "by TLS session tickets", "resumed.per_s", "/s", 500,
                ratio="times_as_fast", than="the rate of full handshakes",
                only=_broker("embedded"),
            ),
            Figure(
                "by TLS session tickets", "resumed.per_s", "/s", 900,
                ratio="times_as_fast", than="the rate of full handshakes",
                only=_broker("mosquitto"),
            ),
            Figure("by full handshakes, own certificates", "full.per_s", "/s"),
            Figure("lost", "resumed.lost", "packs", most=0),
        ),
    ),
    Capability(
        "Telemetry: packs stored",
        "telemetry",
        ("broker", "devices", "packs", "window"),
        (
            Figure(
                "stored", "stored.per_s", "packs/s", 1_500,
                ratio="ratio", than="of the bare rate", only=_broker("embedded"),
            ),
            Figure(
                "stored", "stored.per_s", "packs/s", 8_000,
                ratio="ratio", than="of the bare rate", only=_broker("mosquitto"),
            ),
            Figure("part of the bare rate", "ratio", "", least=0.7),
            Figure("bare rate", "bare.per_s", "packs/s"),
            Figure("lost", "stored.lost", "packs", most=0),
        ),
    ),
    Capability(
        "Commands: POST to the result on MQTT",
        "commands",
        ("broker", "devices", "offered_per_s"),
        (
            # Of 500 offered, in whole seconds.
            Figure("answered", "per_s", "/s", least=495),
            Figure("p99 of a round trip", "round_trip_ms.p99", "ms", most=50),
            Figure("unanswered", "unanswered", "", most=0),
        ),
    ),
    Capability(
        "Memory of a simulated device",
        "fleet_memory",
        (),
        (
            Figure("LwM2M only", "lwm2m.-1.registered_bytes", "bytes", most=2_500),
            Figure("with DTLS", "dtls.registered_bytes", "bytes", most=5_000),
            Figure("with MQTT over TLS", "mqtt_tls.connected_bytes", "bytes", most=45_000),
        ),
    ),
    Capability(
        "Memory of Leshan's client",
        "leshan_client",
        ("clients", "leshan"),
        (
            Figure("resident, a JVM for each device", "rss_bytes_per_device", "bytes"),
            Figure("its share (PSS)", "pss_bytes_per_device", "bytes"),
        ),
    ),
    Capability(
        "DTLS",
        "dtls",
        (),
        (
            Figure("PSK handshakes, one core", "psk.first.per_core_per_s", "/s", least=2_500),
            Figure(
                "Registers on a PSK session", "register.psk.exchanges_per_s", "/s",
                ratio="register.psk_to_plain_by_cpu", than="of plain, by CPU",
            ),
            Figure("of the plain rate, by CPU", "register.psk_to_plain_by_cpu", "", least=0.5),
        ),
    ),
    Capability(
        "Provisioning: manifest rows",
        "provisioning",
        ("rows",),
        (
            Figure("created", "created.rows_per_s", "rows/s", least=2_000),
            Figure("the same manifest again", "unchanged.rows_per_s", "rows/s"),
        ),
    ),
    Capability(
        "A run's report",
        "report_generation",
        ("devices", "records"),
        (
            Figure("read, judged and written", "whole_cpu_s", "s of CPU"),
            Figure("records", "records_per_s", "/s"),
            Figure("size of report.html", "html_bytes", "bytes"),
        ),
    ),
    Capability(
        "A bench's start and end",
        "bench_start",
        (),
        (
            Figure("every process ready, the last start", "ready_s.-1", "s", most=2),
            Figure("none left, the last end", "down_s.-1", "s", most=2),
        ),
    ),
    Capability(
        "The dashboard's map in a headless Chromium",
        "dashboard_map",
        ("devices", "changes_per_s"),
        (
            Figure("first map", "first_map_ms.median", "ms", most=3_000),
            Figure("CPU of the browser for it", "first_map_cpu_s", "s"),
            Figure("frames while devices change", "live.frames_per_s", "/s"),
            Figure("longest input delay", "live.longest_input_delay_ms", "ms"),
        ),
    ),
    Capability("Brokers by themselves", "mqtt_broker", (), ()),
    Capability(
        "Scenarios",
        "scenario",
        ("scenario", "devices"),
        (
            Figure("verdict", "verdict"),
            Figure("exit code", "exit_code", "", most=0),
            Figure("registered", "registered_per_s", "/s"),
            Figure("p99 of a registration, from its intended start", "registered_p99_ms", "ms"),
            Figure("p99 of an Update", "update_p99_ms", "ms"),
            Figure("fleet and emulated services", "fleet_and_emulated_bytes", "bytes"),
            Figure("CPU of fleet, emulated, platform, instruments", "cpu_s", "s"),
        ),
    ),
)  # fmt: skip


def value_at(line: Line, path: str) -> Any:
    """What a line has at a path; None where it has nothing."""
    found: Any = line
    for name in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and found and name.lstrip("-").isdigit():
            number = int(name)
            found = found[number] if -len(found) <= number < len(found) else None
        else:
            return None
    return found


def is_met(figure: Figure, value: Any) -> bool | None:
    """Whether a value meets the figure's bar; None without a bar, or a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if figure.least is not None:
        return value >= figure.least
    return None if figure.most is None else value <= figure.most
