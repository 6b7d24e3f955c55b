"""Scenarios about onboarding."""
