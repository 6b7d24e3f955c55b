"""How much the platform holds: many devices, high rates, long times."""
