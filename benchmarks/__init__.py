"""What this package costs beside its alternatives; each module is run with `python -m benchmarks.NAME`."""
