"""What the parts of Lamplighter say to each other: names, topics, frames, payloads, manifest.

Data and pure functions only; beneath every other package and importing none of them.
"""
