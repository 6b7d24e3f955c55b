"""Scenarios about security."""
