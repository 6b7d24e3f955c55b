"""The bench: everything that emulates, watches, disturbs and judges."""
