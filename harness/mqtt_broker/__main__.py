"""`python -m harness.mqtt_broker --config FILE`: the broker of a bench as a process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.mqtt_broker.config import BrokerConfig
from runtime.clock import Clock
from runtime.component import ConfigError, Ready, read_config, run_process


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


def main() -> int:
    """Run the process. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    try:
        config = read_config(parser.parse_args().config, BrokerConfig)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return run_process(run, config, name="broker")


if __name__ == "__main__":
    sys.exit(main())
