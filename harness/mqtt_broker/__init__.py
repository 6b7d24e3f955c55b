"""The embedded broker, its gates and planted defects, and how Mosquitto and amqtt are run instead."""
