"""The platform under test: provisioning, bridge, rules, control, ingestion and their stores.

Every component is one coroutine, `run(config, clock, ready)`, that a process or an event loop
starts by name. The platform imports `lwm2m`, `mqtt`, `runtime` and `contracts`, never
what tests it.
"""
