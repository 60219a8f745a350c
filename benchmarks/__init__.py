"""What this package costs beside its alternatives.

`python -m benchmarks` measures everything, and `python -m benchmarks --only NAME` one module. Each of these modules has
a function `measure(settings)` that returns tables.
"""
