"""Scenarios about resilience."""
