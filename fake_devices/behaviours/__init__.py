"""Signals over time: pure functions of (seed, device, t); values do not depend on what was asked
before."""
