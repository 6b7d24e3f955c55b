"""MQTT over real sockets: the client as an asyncio protocol."""

from mqtt.transport.client import MqttClient, client_tls

__all__ = ["MqttClient", "client_tls"]
