"""The parts of `scripts/benchmark.py`; each has a function `measure(options)` that yields rows."""
