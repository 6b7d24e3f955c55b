"""Simulated city devices: LwM2M on one side, MQTT on the other; usable against any server.

`devices` and `behaviours` say what a device is and measures, `device` is its state machine without
I/O, `fleet` runs many of them in one process.
"""
