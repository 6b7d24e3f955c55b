"""The embedded broker, its gates and planted defects; Mosquitto and amqtt under its rules."""
