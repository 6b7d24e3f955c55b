"""How a device behaves over time: its periods, buffers and back-offs, as values."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.topics import Topics
from lwm2m.bootstrap import FINISH_WITHIN_S
from lwm2m.codecs import content_formats
from lwm2m.firmware import FirmwareSettings
from lwm2m.registration import AWAKE_S

LwM2mVersion = Literal["1.0", "1.1", "1.2"]


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration that all devices of a fleet share."""

    lwm2m_version: LwM2mVersion = "1.1"
    """The LwM2M version that devices speak; a server that answers 4.12 is offered older ones."""
    lifetime_s: int = 300
    """Registration lifetime, seconds (LwM2M /1/x/1)."""
    update_before_s: float = 93.0
    """An Update is sent this long before the lifetime ends, but not before half of it. Default:
    MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2."""
    object_links_delay_s: float = 2.0
    """How long the Update with new object links waits for further instances, seconds."""
    settle_s: float = 3.0
    """How long a device waits before it acts on a change of its MQTT account that looks half done
    (some publications active, others not), seconds."""
    register_retry_s: float = 4.0
    """Pause after the first Register that was refused or not answered, seconds; doubled after each
    further one. The standard's 60 s (/1/x/18) is for networks that are billed."""
    register_retries: int = 6
    """How often it is doubled before the long pause (/1/x/17)."""
    register_pause_s: float = 240.0
    """The long pause, after which the sequence begins again (/1/x/19), seconds."""
    register_sequences: int | None = None
    """Sequences before a registration has failed (/1/x/20); None: 1 for a device that has a
    bootstrap server to turn to, for ever without."""
    queue_mode: bool = False
    """Whether devices register in queue mode, and sleep."""
    awake_s: float = AWAKE_S
    """How long a device in queue mode listens after it spoke, seconds. Default: MAX_TRANSMIT_WAIT,
    RFC 7252 §4.8.2."""
    bootstrap_format: int | None = content_formats.SENML_CBOR
    """The content format that a device prefers to be bootstrapped in (`pct`, LwM2M 1.1)."""
    bootstrap_pack: bool = False
    """Whether a device asks for a Bootstrap-Pack before anything else (LwM2M 1.2)."""
    bootstrap_finish_s: float = FINISH_WITHIN_S
    """Seconds without Finish after which a bootstrap has failed. Default: EXCHANGE_LIFETIME."""
    firmware: FirmwareSettings | None = None
    """How devices update their firmware (object 5); None: they cannot."""
    send_paths: tuple[str, ...] = ()
    """What a device sends by LwM2M Send to servers that have not muted it, such as `/3303/0`."""
    send_every_s: float | None = None
    """Seconds between two Sends; None: only when it is told to."""
    send_formats: tuple[Literal[110, 112, 11544], ...] = (112,)
    """The content formats of Sends, taken in turn: SenML JSON, SenML CBOR, LwM2M CBOR (1.2)."""
    report_every_s: float = 5.0
    """Seconds between two packs of a stream."""
    reports_by_itself: bool = True
    """False: a device reports when it connects and when it is told to, by a profile or a schedule,
    and not every `report_every_s`."""
    city_offset_s: float = 0.0
    """City time minus Unix time, seconds: lets a run at noon have a city at dusk. Readings are
    stamped with Unix time; only what the city does (sun, traffic) follows city time."""
    city_speed: float = 1.0
    """Seconds of city time in one second; with another than 1, `city_offset_s` is what is left of
    city time when so many times Unix time are taken away."""
    buffer_packs_max: int = 500
    """Packs kept while there is no connection, or while the broker does not acknowledge."""
    buffer_drop: Literal["oldest", "newest"] = "oldest"
    """Which pack is given up when the buffer is full."""
    drain_per_s: float = 20.0
    """Kept packs sent per second and device after a reconnection."""
    in_flight_max: int = 10
    """Packs sent and not yet acknowledged per device. AWS IoT Core allows 100."""
    connects: bool = True
    """False: a device takes its MQTT account and records that it is active, but opens no
    connection; for measurements of what comes before."""
    reconnect_s: float = 1.0
    """First pause before MQTT is tried again, seconds; doubled each time."""
    reconnect_s_max: float = 60.0
    """Longest pause between two attempts, seconds."""
    reconnect_jitter_ratio: float = 0.5
    """The pause is shortened by up to this part, by chance: a fleet must not come back at once."""
    topics: Topics = Topics()
    """Tells a publication of alarms from one of states."""

    def city_s(self, unix_us: int) -> float:
        """City time, Unix seconds, at a moment of Unix time."""
        return unix_us / 1e6 * self.city_speed + self.city_offset_s
