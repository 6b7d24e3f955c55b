"""Load by Locust: its master, workers and pages, with simulated devices as users.

Only this package reaches Locust and gevent, and only in processes of its own
(`python -m harness.load`): importing Locust changes the process that does it. What the
`lamplighter` command imports from here therefore imports neither.
"""
