"""The LwM2M protocol without I/O: shared by simulated devices, server emulator and platform."""
