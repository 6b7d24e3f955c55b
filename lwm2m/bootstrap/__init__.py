"""Bootstrap at both ends: requests, sessions, tables of states (LwM2M Core §6.1)."""
