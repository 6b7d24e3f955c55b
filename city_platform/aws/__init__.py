"""The platform's handlers as AWS Lambda runs them: the same functions behind thin entry points.

`handlers` has the entry points that deploy/aws names; the other modules know nothing of Lambda's
process and are given their account, clock and chance.
"""
