"""Commands: many at once, and under kills."""
