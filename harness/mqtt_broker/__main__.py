"""`python -m harness.mqtt_broker --config FILE`: the broker of a bench as a process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.component_command import run_command
from harness.mqtt_broker.config import BrokerConfig
from runtime.clock import Clock
from runtime.component import ConfigError, Ready


def modules_for(arguments: Sequence[str]) -> tuple[str, ...]:
    """The modules that the default kind imports when it runs: for who imports them ahead."""
    return ("harness.mqtt_broker.embedded",)


async def run(config: BrokerConfig, clock: Clock, ready: Ready) -> None:
    """Run the chosen kind. Raises `ConfigError` for a defect in another than the embedded one."""
    if config.kind == "embedded":
        from harness.mqtt_broker.embedded import run_embedded

        await run_embedded(config, clock, ready)
        return
    if config.defect is not None:
        raise ConfigError(f"a defect can be planted in the embedded broker, not in {config.kind}")
    if config.kind == "mosquitto":
        from harness.mqtt_broker.mosquitto import run_mosquitto

        await run_mosquitto(config, clock, ready)
    else:
        try:
            from harness.mqtt_broker.guarded_amqtt import run_amqtt
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{error.name} is not installed: `make setup-test` brings it"
            ) from error

        await run_amqtt(config, clock, ready)


if __name__ == "__main__":
    sys.exit(run_command(run, BrokerConfig, package="harness.mqtt_broker"))
