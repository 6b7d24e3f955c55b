"""The platform's stores: one interface each, with the implementation that runs embedded.

The interfaces are asynchronous because their cloud implementations will be. What an embedded one
does to the disk it does in one thread of its own. Which kill each survives: docs/design/stores.md.
"""
