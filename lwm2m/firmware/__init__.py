"""Firmware update, object 5: states and results as a table (LwM2M Core appendix E.6)."""
