"""Scripts with a claim: each module holds one `SCENARIO`, found by its name."""
