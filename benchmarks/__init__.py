"""Benchmarks: `make bench` prints their tables. Ratios in one run, no verdicts."""
