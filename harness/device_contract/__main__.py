"""`python -m harness.device_contract` makes the vectors anew."""

from harness.device_contract.vectors import write_all

write_all()
