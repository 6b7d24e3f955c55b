"""Brings everything up and down: processes, their configurations, kills and restarts."""
